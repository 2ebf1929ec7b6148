/* bayeslora: Bayesian low-rank adapters on GPUs and CPUs.
 *
 * Status: every function that can fail returns a bl_status; bl_last_error() says why the last one failed in this thread.
 * Handles: opaque; each is freed once, by its own function, which takes NULL too. A handle keeps what it was made from alive.
 * Threads: one thread at a time for each handle, except bl_stop, which any thread may use at any time.
 * Memory: inputs are copied or read before the call returns; outputs belong to the caller unless said otherwise.
 * Callbacks run on the thread that called, and must not unwind (no C++ exception, no longjmp).
 * Structures of options begin with their size, set by their _default function, so that they can grow.
 * Devices do not cross this interface: the library opens its own on the adapter that it is told.
 */

#ifndef BAYESLORA_H
#define BAYESLORA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// What a call comes to.
typedef enum bl_status {
  BL_OK = 0,
  // Something around the program failed: a file, the memory, the driver.
  BL_FAILED = 1,
  // An argument is wrong, or a file is not what it should be.
  BL_INVALID = 2,
  // The device is gone. What was made on it can only be freed.
  BL_GPU_LOST = 3,
  // bl_stop_request was called.
  BL_STOPPED = 4,
  // A bug in the library. What was in use can only be freed.
  BL_PANIC = 5,
} bl_status;

// What a bl_progress is told of.
typedef enum bl_phase {
  // Features of the frozen layers are computed: images.
  BL_CACHING = 0,
  // Steps of an epoch.
  BL_TRAINING = 1,
  // Validation images.
  BL_EVALUATING = 2,
} bl_phase;

// What became of an epoch.
typedef enum bl_outcome {
  // It was trained.
  BL_DONE = 0,
  // It was stopped on its way; bl_trainer_epoch begins it anew.
  BL_INTERRUPTED = 1,
  // There was no epoch left.
  BL_FINISHED = 2,
} bl_outcome;

// How the bytes of a bl_image are to be read.
typedef enum bl_format {
  // 3 bytes a pixel, sRGB, row by row.
  BL_RGB = 0,
  // 4 bytes a pixel, sRGB and alpha, not premultiplied.
  BL_RGBA = 1,
  // The bytes of a PNG, JPEG, WebP, BMP, TIFF or GIF file.
  BL_ENCODED = 2,
} bl_format;

// A device of the library's own.
typedef struct bl_gpu bl_gpu;

// An adapter on its backbone, ready to answer; the second call for as many pictures is faster than the first.
typedef struct bl_session bl_session;

// Stops the work that it was given to. Any thread may use it, at any time before it is freed.
typedef struct bl_stop bl_stop;

// A training. It begins an epoch anew that was stopped on its way.
typedef struct bl_trainer bl_trainer;

// How to open a device; bl_gpu_options_default fills it.
typedef struct bl_gpu_options {
  // sizeof(bl_gpu_options)
  size_t size;
  // A part of the adapter's name, its number, "cpu" or "gpu"; NULL for the best there is.
  const char *adapter;
  // A folder for compiled pipelines, so that the next start is faster; NULL keeps nothing.
  const char *cache_dir;
  // Whether convolutions may round their operands to f16.
  bool f16;
} bl_gpu_options;

// How frequent a class is where the answers are given.
typedef struct bl_class_weight {
  const char *class_name;
  // From 1e-9 to 1e9, in any unit.
  double weight;
} bl_class_weight;

// How a session answers; bl_session_options_default fills it.
typedef struct bl_session_options {
  // sizeof(bl_session_options)
  size_t size;
  // Draws of the gates, the same for every picture; 0 for the mean weights.
  uint32_t samples;
  uint64_t seed;
  // What logits are divided by; 0 for the temperature that was fitted to a run for as many samples, if there is one.
  double temperature;
  // An answer less probable than this counts as none.
  float threshold;
  // Pictures that are computed at a time.
  uint32_t batch;
  // Stops predictions; NULL for none.
  const struct bl_stop *stop;
  // How frequent the classes are where the answers are given: "uniform" for all alike, "train" for as among the training
  // images; NULL for what the adapter was trained for. Where that changes anything, every draw is adjusted, the temperature that
  // was fitted to the run is left out, and nothing that `bayeslora calibrate` has promised is: no label is held back but by
  // the threshold, in_set is -1, and there may be more false alarms in unfamiliar. It does not go with a temperature.
  const char *class_prior;
  // In the place of class_prior: a weight for each class, in any order; NULL for none.
  const struct bl_class_weight *class_weights;
  // Weights at class_weights.
  size_t class_weight_count;
} bl_session_options;

// A picture of any size. `format` is one of bl_format.
typedef struct bl_image {
  const uint8_t *data;
  // Bytes at `data`.
  size_t bytes;
  // In pixels; of an encoded picture not looked at, like `height`.
  uint32_t width;
  uint32_t height;
  int32_t format;
} bl_image;

// Where bl_session_predict puts its answers: arrays of the caller's, or NULL for what is not wanted.
typedef struct bl_answers {
  // [n, classes]: probability of each class, under the class prior or at the temperature.
  float *probability;
  // [n, classes]: its standard deviation over the draws, under the class prior but before any temperature.
  float *std;
  // [n]: entropy of the predictive, in nats.
  float *entropy;
  // [n]: its part that comes from the draws' disagreement, in nats.
  float *mutual_information;
  // [n]: number of the most probable class, or -1 where it is less probable than the threshold, or than the risk that
  // `bayeslora calibrate` has promised of the run allows.
  int32_t *label;
  // [n, classes]: 1 for the classes of the set that holds the right one as often as `bayeslora calibrate` has promised of the
  // run, 0 for the others; all -1 where nothing was promised.
  int8_t *in_set;
  // [n]: 1 where the picture looks like nothing that the run was trained on, 0 where it does not; -1 where `bayeslora calibrate
  // --false-alarms` has not been run.
  int8_t *unfamiliar;
} bl_answers;

// Told of progress, on the thread that called: `done` of `total`. Anything but 0 stops the work, which then ends with
// BL_STOPPED (bl_trainer_new) or BL_INTERRUPTED (bl_trainer_epoch).
typedef int32_t (*bl_progress)(void *user, enum bl_phase phase, uint64_t done, uint64_t total);

// How to train; bl_train_options_default fills it.
typedef struct bl_train_options {
  // sizeof(bl_train_options)
  size_t size;
  // The frozen network: a safetensors file, or "embedded".
  const char *backbone;
  // Whether ranks have gates (BayesLoRA); plain LoRA without.
  bool gates;
  // Ranks of every adapter; 0, without gates, trains the head alone.
  uint32_t rank;
  uint32_t epochs;
  // Images of a step; 0 for the default.
  uint32_t batch_size;
  // Side of the network's input, in pixels.
  uint32_t resolution;
  // Learning rate; 0 for the default.
  double learning_rate;
  uint64_t seed;
  // Share of the images that are kept out of training, to score each epoch on.
  double validation;
  // NULL for none.
  bl_progress progress;
  // Given to `progress`.
  void *user;
  // Stops training; NULL for none.
  const struct bl_stop *stop;
  // Bits of each weight of the frozen convolutions in GPU memory: 32, or 8, which takes a quarter of it. An adapter answers over
  // the weights that it was trained over; sessions and bl_prune see to that.
  uint32_t backbone_bits;
} bl_train_options;

// An epoch.
typedef struct bl_epoch {
  enum bl_outcome outcome;
  // From 1. The rest is 0 unless it was trained.
  uint32_t epoch;
  // Ranks left, all layers together.
  uint32_t rank;
  // Mean loss of its steps, in nats.
  double loss;
  // On the validation images, with the mean weights; NaN without them.
  double accuracy;
  double nll;
} bl_epoch;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

enum bl_status bl_gpu_options_default(struct bl_gpu_options *options);

// Opens a device. `options` may be NULL.
enum bl_status bl_gpu_open(const struct bl_gpu_options *options, struct bl_gpu **out);

// The adapter's name; valid as long as the handle. NULL for NULL.
const char *bl_gpu_name(const struct bl_gpu *gpu);

void bl_gpu_free(struct bl_gpu *gpu);

// Turns an adapter's ranks into the singular directions, which changes no prediction, keeps a share of them, the largest, and
// writes what is left. Gates act on it as before. `ranks_left` may be NULL.
enum bl_status bl_prune(const char *backbone,
                        const char *adapter_dir,
                        double keep,
                        const char *out_dir,
                        size_t *ranks_left);

enum bl_status bl_session_options_default(struct bl_session_options *options);

// Opens the run in a directory, with the backbone that it names. `options` may be NULL.
enum bl_status bl_session_open(const struct bl_gpu *gpu,
                               const char *run_dir,
                               const struct bl_session_options *options,
                               struct bl_session **out);

// Opens a PEFT adapter's directory on a backbone: a file of safetensors or PyTorch, or "embedded". `options` may be NULL.
enum bl_status bl_session_open_adapter(const struct bl_gpu *gpu,
                                       const char *backbone,
                                       const char *adapter_dir,
                                       const struct bl_session_options *options,
                                       struct bl_session **out);

// The number of classes; 0 for NULL.
size_t bl_session_classes(const struct bl_session *session);

// The name of a class, UTF-8; valid as long as the handle. NULL where there is no such class.
const char *bl_session_class_name(const struct bl_session *session, size_t label);

// Compiles what a call with `count` pictures takes, so that the first one is as fast as the others.
enum bl_status bl_session_warm(struct bl_session *session, size_t count);

// Answers `count` pictures.
enum bl_status bl_session_predict(struct bl_session *session,
                                  const struct bl_image *images,
                                  size_t count,
                                  const struct bl_answers *answers);

void bl_session_free(struct bl_session *session);

// Why the last call failed in this thread: a sentence, or nothing where none has failed. Valid until the next failure in
// this thread; not to be freed.
const char *bl_last_error(void);

// The library's version, as in "0.1.0"; not to be freed.
const char *bl_version(void);

// A new one. Never NULL.
struct bl_stop *bl_stop_new(void);

// Asks for the stop: calls that run end with BL_STOPPED, within about a millisecond of waiting for the device.
void bl_stop_request(const struct bl_stop *stop);

// Lets work go on again.
void bl_stop_reset(const struct bl_stop *stop);

void bl_stop_free(struct bl_stop *stop);

enum bl_status bl_train_options_default(struct bl_train_options *options);

// Prepares a training on `count` pictures, whose labels count `classes` names from 0. `options` may be NULL.
enum bl_status bl_trainer_new(const struct bl_gpu *gpu,
                              const struct bl_image *images,
                              const uint32_t *labels,
                              size_t count,
                              const char *const *class_names,
                              size_t classes,
                              const struct bl_train_options *options,
                              struct bl_trainer **out);

// Trains one more epoch.
enum bl_status bl_trainer_epoch(struct bl_trainer *trainer, struct bl_epoch *out);

// Writes the adapter as it is after the last whole epoch, as a PEFT directory.
enum bl_status bl_trainer_save(const struct bl_trainer *trainer, const char *adapter_dir);

// A session with the adapter as it is after the last whole epoch. `options` may be NULL.
enum bl_status bl_trainer_session(const struct bl_trainer *trainer,
                                  const struct bl_gpu *gpu,
                                  const struct bl_session_options *options,
                                  struct bl_session **out);

void bl_trainer_free(struct bl_trainer *trainer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BAYESLORA_H */
