#!/usr/bin/env bash
# Builds the C library, compares its header, and runs the C and C++ programs under AddressSanitizer.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/release
cargo test --release -p bayeslora-c
cargo build --release -p bayeslora-c --features embedded

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
libs=$(cargo rustc --release -q -p bayeslora-c --features embedded --crate-type staticlib -- --print native-static-libs 2>&1 |
    sed -n 's/.*native-static-libs: //p' | tail -1)
warnings=(-Wall -Wextra -Werror -g -fsanitize=address -Iinclude)
cc -std=c99 "${warnings[@]}" tests/errors.c "$target/libbayeslora_c.a" $libs -o "$out/errors"
cc -std=c99 "${warnings[@]}" examples/train_predict.c "$target/libbayeslora_c.a" $libs -o "$out/train_predict"
# Without a sanitizer against the shared library, as an application would.
c++ -std=c++17 -Wall -Wextra -Werror -Iinclude examples/predict.cpp -L"$target" -lbayeslora_c -o "$out/predict"

# What the Vulkan loader and drivers never give back is not ours.
printf 'leak:libvulkan\nleak:libLLVM\nleak:libstdc++\n' >"$out/suppressions"
export LSAN_OPTIONS=suppressions=$out/suppressions ASAN_OPTIONS=detect_leaks=1
"$out/errors"
"$out/train_predict" "$out"
if [ $# -ge 2 ]; then # RUN PICTURE...
    LD_LIBRARY_PATH=$target "$out/predict" "$@"
fi
