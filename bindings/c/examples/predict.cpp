// A C++ application: handles in unique_ptr, statuses as exceptions. Says what a run thinks of picture files.
//
//   predict RUN_DIR PICTURE...
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bayeslora.h"

namespace {

void check(bl_status status) {
    if (status != BL_OK) throw std::runtime_error(bl_last_error());
}

struct Free {
    void operator()(bl_gpu *gpu) const { bl_gpu_free(gpu); }
    void operator()(bl_session *session) const { bl_session_free(session); }
};

std::vector<std::uint8_t> read(const char *path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string(path) + ": cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

void run(int argc, char **argv) {
    bl_gpu *opened = nullptr;
    check(bl_gpu_open(nullptr, &opened));
    const std::unique_ptr<bl_gpu, Free> gpu(opened);

    bl_session_options options;
    check(bl_session_options_default(&options));
    options.samples = 8;
    options.threshold = 0.5f;
    bl_session *made = nullptr;
    check(bl_session_open(gpu.get(), argv[1], &options, &made));
    const std::unique_ptr<bl_session, Free> session(made);
    const std::size_t classes = bl_session_classes(session.get());

    for (int i = 2; i < argc; i++) {
        const auto bytes = read(argv[i]);
        const bl_image image{bytes.data(), bytes.size(), 0, 0, BL_ENCODED};
        std::vector<float> probability(classes), std(classes);
        float information = 0;
        std::int32_t label = 0;
        const bl_answers answers{probability.data(), std.data(), nullptr, &information, &label, nullptr, nullptr};
        check(bl_session_predict(session.get(), &image, 1, &answers));
        if (label < 0) {
            std::printf("%s: too unsure to say\n", argv[i]);
        } else {
            const auto place = static_cast<std::size_t>(label);
            std::printf("%s: %s, %.1f %% +- %.1f, mutual information %.4f nats\n", argv[i],
                        bl_session_class_name(session.get(), place), 100.0 * static_cast<double>(probability[place]),
                        100.0 * static_cast<double>(std[place]), static_cast<double>(information));
        }
    }
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s RUN_DIR PICTURE...\n", argv[0]);
        return 2;
    }
    try {
        run(argc, argv);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
