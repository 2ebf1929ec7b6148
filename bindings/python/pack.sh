#!/usr/bin/env bash
# Makes a wheel in OUT of the library that `cargo test --release --workspace` has built, with maturin's metadata: nothing is
# compiled a second time. Its backbone is the file in this repository; what is given away is built by `pip wheel bindings/python`.
#
#   pack.sh OUT
set -euo pipefail
mkdir -p "$1"
out=$(realpath "$1")
cd "$(dirname "$0")"
library=${CARGO_TARGET_DIR:-../../target}/release/deps/libbayeslora_python.so
[ -f "$library" ] || { echo "pack: no $library: cargo test --release --workspace --no-run" >&2; exit 1; }

wheel=$(mktemp -d)
trap 'rm -rf "$wheel"' EXIT
python3 -m venv "$wheel/tools"
"$wheel/tools/bin/pip" install -q maturin==1.16.0 wheel==0.45.1
mkdir "$wheel/content"
"$wheel/tools/bin/maturin" pep517 write-dist-info --metadata-directory "$wheel/content" --interpreter "$wheel/tools/bin/python" >/dev/null
cp -r python/bayeslora "$wheel/content"
rm -rf "$wheel/content/bayeslora/__pycache__"
cp "$library" "$wheel/content/bayeslora/_native.abi3.so"
"$wheel/tools/bin/wheel" pack -d "$out" "$wheel/content" >/dev/null
