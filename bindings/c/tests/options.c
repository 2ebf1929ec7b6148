/* What options do: a backbone of 8 bits, and answers for another balance of the classes.
 *
 *   options OUT_DIR        (OUT_DIR/eight and OUT_DIR/cut must not exist)
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "expect.h"

enum { IMAGES = 8, CLASSES = 2, SIDE = 32, BYTES = 3 * SIDE * SIDE };

static uint8_t pixels[IMAGES][BYTES];
static bl_image images[IMAGES];

/* [IMAGES, CLASSES], of a session that is freed. */
static void probabilities(bl_session *session, float *found) {
    const bl_answers answers = {found, NULL, NULL, NULL, NULL, NULL, NULL};
    EXPECT(bl_session_predict(session, images, IMAGES, &answers) == BL_OK);
    bl_session_free(session);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    char eight[4096], cut[4096], file[8192];
    snprintf(eight, sizeof eight, "%s/eight", argv[1]);
    snprintf(cut, sizeof cut, "%s/cut", argv[1]);

    /* Six images of one class, two of the other. */
    const char *const names[CLASSES] = {"dark", "bright"};
    uint32_t labels[IMAGES];
    for (unsigned i = 0; i < IMAGES; i++) {
        labels[i] = i % 4 == 3;
        for (unsigned byte = 0; byte < BYTES; byte++) {
            pixels[i][byte] = (uint8_t)((byte * 31 + i * 57) % 120 + (labels[i] ? 100 : 0));
        }
        images[i] = (bl_image){pixels[i], BYTES, SIDE, SIDE, BL_RGB};
    }

    bl_gpu *gpu;
    EXPECT(bl_gpu_open(NULL, &gpu) == BL_OK);
    bl_train_options options;
    EXPECT(bl_train_options_default(&options) == BL_OK && options.backbone_bits == 32);
    options.epochs = 2;
    options.resolution = SIDE;
    options.backbone_bits = 8;
    bl_trainer *trainer;
    EXPECT(bl_trainer_new(gpu, images, labels, IMAGES, names, CLASSES, &options, &trainer) == BL_OK);
    bl_epoch epoch = {.outcome = BL_DONE};
    while (epoch.outcome != BL_FINISHED) EXPECT(bl_trainer_epoch(trainer, &epoch) == BL_OK);
    EXPECT(bl_trainer_save(trainer, eight) == BL_OK);

    /* It says which weights it is for, and answers over these from its directory too. */
    snprintf(file, sizeof file, "%s/bayeslora.json", eight);
    FILE *ours = fopen(file, "r");
    char text[1 << 16] = {0};
    EXPECT(ours && fread(text, 1, sizeof text - 1, ours) > 0 && strstr(text, "\"int8:"));
    fclose(ours);
    bl_session_options asked;
    EXPECT(bl_session_options_default(&asked) == BL_OK);
    asked.samples = 0;
    float trained[IMAGES * CLASSES], loaded[IMAGES * CLASSES], adjusted[IMAGES * CLASSES];
    bl_session *session;
    EXPECT(bl_trainer_session(trainer, gpu, &asked, &session) == BL_OK);
    probabilities(session, trained);
    bl_trainer_free(trainer);
    EXPECT(bl_session_open_adapter(gpu, "embedded", eight, &asked, &session) == BL_OK);
    probabilities(session, loaded);
    EXPECT(!memcmp(trained, loaded, sizeof trained));
    size_t left;
    EXPECT(bl_prune("embedded", eight, 0.5, cut, &left) == BL_OK && left > 0);
    EXPECT(bl_session_open_adapter(gpu, "embedded", cut, &asked, &session) == BL_OK);
    bl_session_free(session);

    /* p'(c | x) ~ p(c | x) target / trained, from .75 and .25. */
    bl_class_weight weights[CLASSES] = {{"bright", 9}, {"dark", 1}};
    const double targets[3][CLASSES] = {{0.5, 0.5}, {0.1, 0.9}, {0.75, 0.25}};
    for (unsigned prior = 0; prior < 3; prior++) {
        asked.class_prior = prior == 0 ? "uniform" : prior == 2 ? "train" : NULL;
        asked.class_weights = prior == 1 ? weights : NULL;
        asked.class_weight_count = prior == 1 ? CLASSES : 0;
        EXPECT(bl_session_open_adapter(gpu, "embedded", eight, &asked, &session) == BL_OK);
        probabilities(session, adjusted);
        for (unsigned i = 0; i < IMAGES; i++) {
            const double dark = (double)loaded[2 * i] * targets[prior][0] / 0.75;
            const double bright = (double)loaded[2 * i + 1] * targets[prior][1] / 0.25;
            EXPECT(fabs((double)adjusted[2 * i] - dark / (dark + bright)) < 1e-5);
        }
        EXPECT((prior == 2) == !memcmp(adjusted, loaded, sizeof loaded));
    }

    /* Options of a program that was built before there were priors end before them. */
    asked.class_prior = "even";
    asked.size = offsetof(bl_session_options, class_prior);
    EXPECT(bl_session_open_adapter(gpu, "embedded", eight, &asked, &session) == BL_OK);
    bl_session_free(session);
    bl_gpu_free(gpu);
    puts("the options do what they say");
    return 0;
}
