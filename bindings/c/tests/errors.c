/* Every refusal, and every function with NULL. */
#include <string.h>

#include "expect.h"

#define REFUSED(call, says) EXPECT((call) == BL_INVALID && strstr(bl_last_error(), says))

int main(void) {
    const uint8_t pixels[300] = {0};
    const char *const names[2] = {"one", "two"};
    const uint32_t labels[2] = {0, 1}, wrong_labels[2] = {0, 2};
    bl_image images[2] = {{pixels, 300, 10, 10, BL_RGB}, {pixels, 300, 10, 10, BL_RGB}};
    bl_answers answers = {NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    bl_epoch epoch;
    bl_gpu *gpu = NULL;
    bl_session *session = (bl_session *)1;
    bl_trainer *trainer = NULL;

    /* Null is freed, and is nothing to work on. */
    bl_gpu_free(NULL);
    bl_session_free(NULL);
    bl_trainer_free(NULL);
    bl_stop_free(NULL);
    bl_stop_request(NULL);
    bl_stop_reset(NULL);
    EXPECT(bl_gpu_name(NULL) == NULL && bl_session_classes(NULL) == 0 && bl_session_class_name(NULL, 0) == NULL);
    REFUSED(bl_gpu_options_default(NULL), "options");
    REFUSED(bl_session_options_default(NULL), "options");
    REFUSED(bl_train_options_default(NULL), "options");
    REFUSED(bl_gpu_open(NULL, NULL), "null");
    REFUSED(bl_session_open(NULL, "run", NULL, &session), "gpu is null");
    EXPECT(session == NULL);
    REFUSED(bl_session_open_adapter(NULL, "embedded", "adapter", NULL, &session), "gpu is null");
    REFUSED(bl_session_warm(NULL, 1), "session is null");
    REFUSED(bl_session_predict(NULL, images, 1, &answers), "session is null");
    REFUSED(bl_trainer_new(NULL, images, labels, 2, names, 2, NULL, &trainer), "gpu is null");
    REFUSED(bl_trainer_epoch(NULL, &epoch), "trainer is null");
    REFUSED(bl_trainer_save(NULL, "adapter"), "trainer is null");
    REFUSED(bl_trainer_session(NULL, NULL, NULL, &session), "trainer is null");
    REFUSED(bl_prune(NULL, "adapter", 0.5, "out", NULL), "backbone is null");

    bl_gpu_options gpu_options;
    EXPECT(bl_gpu_options_default(&gpu_options) == BL_OK);
    gpu_options.adapter = "no such adapter";
    REFUSED(bl_gpu_open(&gpu_options, &gpu), "no such adapter");
    gpu_options.adapter = "\xff";
    REFUSED(bl_gpu_open(&gpu_options, &gpu), "UTF-8");
    memset(&gpu_options, 0, sizeof gpu_options);
    REFUSED(bl_gpu_open(&gpu_options, &gpu), "_default");
    gpu_options.size = sizeof gpu_options + 8; /* of a later header */
    REFUSED(bl_gpu_open(&gpu_options, &gpu), "_default");
    EXPECT(bl_gpu_open(NULL, &gpu) == BL_OK && strlen(bl_gpu_name(gpu)) > 0);

    /* Runs, adapters and backbones that are not there. */
    REFUSED(bl_session_open(gpu, NULL, NULL, &session), "run_dir is null");
    REFUSED(bl_session_open(gpu, "/no/such/run", NULL, &session), "/no/such/run");
    REFUSED(bl_session_open_adapter(gpu, "/no/such/file", "adapter", NULL, &session), "/no/such/file");
    REFUSED(bl_session_open_adapter(gpu, "embedded", "/no/such/dir", NULL, &session), "/no/such/dir");
    REFUSED(bl_prune("embedded", "/no/such/dir", 0.5, "out", NULL), "/no/such/dir");
    REFUSED(bl_prune("embedded", "adapter", 1.5, "out", NULL), "1.5");

    /* Pictures and labels that do not fit together. */
    bl_train_options options;
    EXPECT(bl_train_options_default(&options) == BL_OK);
    options.epochs = 1;
    options.resolution = 32;
    REFUSED(bl_trainer_new(gpu, images, wrong_labels, 2, names, 2, &options, &trainer), "label 2");
    REFUSED(bl_trainer_new(gpu, NULL, labels, 2, names, 2, &options, &trainer), "images is null");
    REFUSED(bl_trainer_new(gpu, images, NULL, 2, names, 2, &options, &trainer), "labels is null");
    REFUSED(bl_trainer_new(gpu, images, labels, 2, NULL, 2, &options, &trainer), "class_names is null");
    REFUSED(bl_trainer_new(gpu, images, labels, 0, names, 2, &options, &trainer), "no images");
    images[1].bytes = 299;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "299 bytes");
    images[1].bytes = 300;
    images[1].data = NULL;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "image 1: data is null");
    images[1].data = pixels;
    images[1].format = 7;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "7");
    images[1].format = BL_RGB;
    options.resolution = 0xffffffff;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "4096");
    options.resolution = 32;
    options.epochs = 0;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "epochs");
    options.epochs = 1;
    options.learning_rate = -1;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "lr");
    options.learning_rate = 0;
    options.backbone_bits = 4;
    REFUSED(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer), "backbone_bits: 4 bits a weight: expected 8 or 32");
    options.backbone_bits = 32;

    /* A stop that was asked for before. */
    bl_stop *stop = bl_stop_new();
    options.stop = stop;
    EXPECT(bl_trainer_new(gpu, images, labels, 2, names, 2, &options, &trainer) == BL_OK);
    bl_stop_request(stop);
    EXPECT(bl_trainer_epoch(trainer, &epoch) == BL_STOPPED || epoch.outcome == BL_INTERRUPTED);
    bl_stop_reset(stop);
    EXPECT(bl_trainer_epoch(trainer, &epoch) == BL_OK && epoch.outcome == BL_DONE && epoch.epoch == 1);
    EXPECT(bl_trainer_epoch(trainer, &epoch) == BL_OK && epoch.outcome == BL_FINISHED);
    REFUSED(bl_trainer_epoch(trainer, NULL), "null");
    REFUSED(bl_trainer_save(trainer, NULL), "adapter_dir is null");

    bl_session_options session_options;
    EXPECT(bl_session_options_default(&session_options) == BL_OK);
    session_options.threshold = 2;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "threshold");
    session_options.threshold = 0;
    session_options.class_prior = "even";
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "class_prior: even is neither");
    session_options.class_prior = "\xff";
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "class_prior is not UTF-8");
    session_options.class_prior = "uniform";
    session_options.temperature = 2;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "leave out one of them");
    session_options.temperature = 0;
    bl_class_weight weights[2] = {{"two", 3}, {"one", 1}};
    session_options.class_weights = weights;
    session_options.class_weight_count = 2;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "two priors");
    session_options.class_prior = NULL;
    session_options.class_weight_count = 1;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "no weight for the class one");
    session_options.class_weight_count = 0;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "no weight for the class one");
    session_options.class_weight_count = 2;
    session_options.class_weights = NULL;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "class_weights is null");
    session_options.class_weights = weights;
    weights[1].class_name = NULL;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "class_name of a weight is null");
    weights[1].class_name = "won";
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "does not know the class won");
    weights[1].class_name = "one";
    weights[1].weight = -1;
    REFUSED(bl_trainer_session(trainer, gpu, &session_options, &session), "the weight of one is -1");
    memset(&session_options.class_prior, 0, sizeof session_options - offsetof(bl_session_options, class_prior));
    session_options.threshold = 1;
    session_options.stop = stop;
    EXPECT(bl_trainer_session(trainer, gpu, &session_options, &session) == BL_OK);
    EXPECT(bl_session_classes(session) == 2 && !strcmp(bl_session_class_name(session, 1), "two"));
    EXPECT(bl_session_class_name(session, 2) == NULL);
    REFUSED(bl_session_predict(session, images, 0, &answers), "no images");
    REFUSED(bl_session_predict(session, images, 1, NULL), "answers is null");
    REFUSED(bl_session_predict(session, NULL, 1, &answers), "images is null");
    int32_t label = 5;
    answers.label = &label;
    EXPECT(bl_session_predict(session, images, 1, &answers) == BL_OK && label == -1);
    bl_stop_request(stop);
    EXPECT(bl_session_predict(session, images, 1, &answers) == BL_STOPPED);

    bl_session_free(session);
    bl_trainer_free(trainer);
    bl_gpu_free(gpu);
    bl_stop_free(stop);
    puts("every refusal was heard");
    return 0;
}
