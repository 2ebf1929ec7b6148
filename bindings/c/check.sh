#!/usr/bin/env bash
# Runs the C and C++ programs against the libraries that `cargo test --release --workspace` or
# `cargo build --release -p bayeslora-c` has made: every warning is an error, and AddressSanitizer looks on.
#
#   check.sh [RUN PICTURE...]        with a run, the C++ program predicts with it
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../../target}/release
# `cargo test` leaves them one folder deeper than `cargo build`.
[ -f "$target/libbayeslora_c.a" ] || target=$target/deps
for file in libbayeslora_c.a libbayeslora_c.so; do
    [ -f "$target/$file" ] || { echo "check: no $file: cargo build --release -p bayeslora-c" >&2; exit 1; }
done

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# What `cargo rustc -p bayeslora-c -- --print native-static-libs` says on Linux.
libs=(-lgcc_s -lutil -lrt -lpthread -lm -ldl)
flags=(-std=c99 -Wall -Wextra -Werror -g -fsanitize=address -Iinclude)
cc "${flags[@]}" tests/errors.c "$target/libbayeslora_c.a" "${libs[@]}" -o "$out/errors"
cc "${flags[@]}" tests/options.c "$target/libbayeslora_c.a" "${libs[@]}" -o "$out/options"
cc "${flags[@]}" examples/train_predict.c "$target/libbayeslora_c.a" "${libs[@]}" -o "$out/train_predict"
# Without the sanitizer and against the shared library, as an application would.
c++ -std=c++17 -Wall -Wextra -Werror -Iinclude examples/predict.cpp -L"$target" -lbayeslora_c -o "$out/predict"

# What the Vulkan loader and the drivers never give back is not ours.
printf 'leak:%s\n' libvulkan libLLVM libstdc++ libdrm libX11 libxcb >"$out/suppressions"
export LSAN_OPTIONS=suppressions=$out/suppressions:print_suppressions=0 ASAN_OPTIONS=detect_leaks=1:verify_asan_link_order=0
# A driver that was unloaded has no name to be known by.
driver=$(sed -n 's/.*"library_path": *"\([^"]*\)".*/\1/p' /usr/share/vulkan/icd.d/lvp*.json 2>/dev/null | head -1)
LD_PRELOAD=$driver "$out/errors"
LD_PRELOAD=$driver "$out/options" "$out"
LD_PRELOAD=$driver "$out/train_predict" "$out"
if [ $# -ge 2 ]; then
    LD_LIBRARY_PATH=$target "$out/predict" "$@"
fi
