/* Trains an adapter on pictures in memory, is cancelled and goes on, saves, cuts half of the ranks, and predicts.
 *
 *   train_predict OUT_DIR        (OUT_DIR/adapter and OUT_DIR/half must not exist)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bayeslora.h"

enum { IMAGES = 24, CLASSES = 3, WIDTH = 40, HEIGHT = 30 };

static const char *const names[CLASSES] = {"red", "green", "blue"};

static void check(bl_status status, const char *what) {
    if (status != BL_OK) {
        fprintf(stderr, "%s: %s (status %d)\n", what, bl_last_error(), (int)status);
        exit(1);
    }
}

/* An application's own state, handed through. */
struct watch {
    unsigned calls;
    unsigned stop_at;
};

static int32_t watch(void *user, bl_phase phase, uint64_t done, uint64_t total) {
    struct watch *watched = user;
    (void)done;
    (void)total;
    if (phase != BL_TRAINING) return 0;
    watched->calls++;
    return watched->stop_at != 0 && watched->calls == watched->stop_at;
}

/* A picture whose colour gives its class away. */
static void paint(uint8_t *pixels, unsigned number) {
    for (unsigned i = 0; i < WIDTH * HEIGHT; i++) {
        for (unsigned c = 0; c < 3; c++) {
            pixels[4 * i + c] = (uint8_t)((c == number % CLASSES ? 160 : 60) + (i * 7 + number * 13) % 80);
        }
        pixels[4 * i + 3] = 255;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s OUT_DIR\n", argv[0]);
        return 2;
    }
    char adapter[4096], half[4096];
    snprintf(adapter, sizeof adapter, "%s/adapter", argv[1]);
    snprintf(half, sizeof half, "%s/half", argv[1]);

    printf("bayeslora %s\n", bl_version());
    bl_gpu *gpu;
    check(bl_gpu_open(NULL, &gpu), "opening a device");
    printf("%s\n", bl_gpu_name(gpu));

    uint8_t *pixels = malloc((size_t)IMAGES * WIDTH * HEIGHT * 4);
    bl_image images[IMAGES];
    uint32_t labels[IMAGES];
    if (!pixels) return 1;
    for (unsigned i = 0; i < IMAGES; i++) {
        uint8_t *own = pixels + (size_t)i * WIDTH * HEIGHT * 4;
        paint(own, i);
        images[i] = (bl_image){own, (size_t)WIDTH * HEIGHT * 4, WIDTH, HEIGHT, BL_RGBA};
        labels[i] = i % CLASSES;
    }

    struct watch watched = {0, 6};
    bl_train_options options;
    check(bl_train_options_default(&options), "options");
    options.epochs = 3;
    options.batch_size = 8;
    options.resolution = 32;
    options.validation = 0.25;
    options.progress = watch;
    options.user = &watched;
    bl_trainer *trainer;
    check(bl_trainer_new(gpu, images, labels, IMAGES, names, CLASSES, &options, &trainer), "training");
    for (;;) {
        bl_epoch epoch;
        check(bl_trainer_epoch(trainer, &epoch), "an epoch");
        if (epoch.outcome == BL_FINISHED) break;
        if (epoch.outcome == BL_INTERRUPTED) {
            printf("cancelled; going on\n");
            continue;
        }
        printf("epoch %u: loss %.3f, accuracy %.2f, %u ranks\n", epoch.epoch, epoch.loss, epoch.accuracy, epoch.rank);
    }
    check(bl_trainer_save(trainer, adapter), "saving");
    bl_trainer_free(trainer);

    size_t left;
    check(bl_prune("embedded", adapter, 0.5, half, &left), "pruning");
    printf("%u ranks after the cut\n", (unsigned)left);

    bl_session *session;
    check(bl_session_open_adapter(gpu, "embedded", half, NULL, &session), "a session");
    bl_gpu_free(gpu); /* the session keeps what it needs */
    float probability[IMAGES * CLASSES], information[IMAGES];
    int32_t found[IMAGES];
    bl_answers answers = {probability, NULL, NULL, information, found, NULL, NULL};
    check(bl_session_predict(session, images, IMAGES, &answers), "predicting");
    unsigned right = 0;
    for (unsigned i = 0; i < IMAGES; i++) right += found[i] == (int32_t)labels[i];
    printf("%u of %u right; the first is %s at %.0f %%\n", right, (unsigned)IMAGES, bl_session_class_name(session, (size_t)found[0]),
           100.0 * probability[found[0]]);
    bl_session_free(session);
    free(pixels);
    return 0;
}
