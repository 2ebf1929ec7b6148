#!/usr/bin/env bash
# What a quarter of an hour with a real GPU is for, in one command and in order of worth.
#
#   benches/gpu_day.sh pack DIR     where cargo is: build, strip and compress what `run` needs into DIR, below 64 MiB
#   DIR/gpu_day.sh run [OPTIONS]    on the GPU's machine, which needs a Vulkan driver, tar and xz, and no
#                                   cargo; in the repository itself it packs first
#     --out DIR      where the results go [default: $OUT, else ./gpu-results]
#     --minutes N    for all of it [default: 9.5]; every step has a limit of its own too
#     --data DIR     images of the short training [default: the embedded sample]
#     --adapter A    as bayeslora's [default: the best one; the tests always take that]
#     --python P     a Python with PyTorch; without PyTorch its part is skipped [default: python3]
#     --only REGEX   these steps alone
#     --dry-run      the same steps and limits at sizes that a software adapter can do
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The kernels a GPU gets against their twins, and the whole model.
tests=(operations engine memory)

usage() {
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"
}

fail() {
    echo "gpu_day: $*" >&2
    exit 2
}

pack() { # folder
    local folder=$1 arguments=() log binary name bytes
    [ -f "$here/../Cargo.toml" ] || fail "pack works in the repository only"
    command -v cargo >/dev/null || fail "pack needs cargo"
    rm -rf "$folder/stage" "$folder/unpacked"
    mkdir -p "$folder/stage/bin" "$folder/stage/tests/fixtures"
    folder=$(cd "$folder" && pwd)
    cd "$here/.."
    cargo build --release --features embedded
    for name in "${tests[@]}"; do arguments+=(--test "$name"); done
    log=$(cargo test --release --features embedded --no-run "${arguments[@]}" 2>&1) || {
        echo "$log" >&2
        exit 1
    }
    for name in "${tests[@]}"; do
        binary=$(sed -n "s|.*(\(.*/deps/$name-[0-9a-f]*[.exe]*\)).*|\1|p" <<<"$log")
        [ -n "$binary" ] || fail "cargo does not tell where it put the test $name"
        cp "$binary" "$folder/stage/bin/test-$name"
    done
    cp "${CARGO_TARGET_DIR:-target}/release/bayeslora" "$folder/stage/bin/"
    strip "$folder"/stage/bin/* || echo "gpu_day: not stripped" >&2
    cp -r tests/fixtures/golden "$folder/stage/tests/fixtures/"
    cp benches/peers/pytorch.py "$folder/stage/"
    git rev-parse HEAD >"$folder/stage/commit" 2>/dev/null || echo unknown >"$folder/stage/commit"
    # Two binaries embed the same weights: one after the other, a window that reaches back stores them once.
    (cd "$folder/stage" && tar -c bin/bayeslora bin/test-engine --exclude ./bin/bayeslora --exclude ./bin/test-engine .) | xz -T1 -4 --lzma2=preset=4,dict=96MiB >"$folder/pack.tar.xz"
    rm -rf "$folder/stage"
    [ "$folder" = "$here" ] || cp "${BASH_SOURCE[0]}" "$folder/"
    bytes=$(wc -c <"$folder/pack.tar.xz")
    [ "$bytes" -lt $((64 << 20)) ] || fail "the pack has $bytes bytes, over 64 MiB"
    echo "packed into $folder ($((bytes >> 20)) MiB)"
}

mode=${1:-}
[ $# -gt 0 ] && shift
case $mode in
    pack)
        [ $# -eq 1 ] || fail "pack needs a folder"
        pack "$1"
        exit
        ;;
    run) ;;
    *)
        usage
        exit 2
        ;;
esac

out=${OUT:-./gpu-results}
data=sample minutes=9.5 adapter='' python=python3 only=. dry_run=
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry_run=1 ;;
        --out | --data | --minutes | --adapter | --python | --only)
            [ $# -gt 1 ] || fail "$1 needs a value"
            declare "${1#--}=$2"
            shift
            ;;
        *) fail "unknown option $1" ;;
    esac
    shift
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ "$data" = sample ] || data=$(cd "$data" && pwd)
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac

if [ ! -f "$here/pack.tar.xz" ] && [ ! -d "$here/unpacked" ]; then
    # In a process of its own: the script goes on with the packed copies.
    "${BASH_SOURCE[0]}" pack "$here/../target/gpu-day"
    here=$here/../target/gpu-day
fi
if [ ! -d "$here/unpacked" ]; then
    mkdir "$here/unpacked"
    tar -C "$here/unpacked" -xJf "$here/pack.tar.xz"
fi
cd "$here/unpacked"
bayeslora=$PWD/bin/bayeslora
[ -z "$adapter" ] || export BAYESLORA_ADAPTER=$adapter

seconds=$(awk "BEGIN { print int(60 * $minutes) }")
summary=$out/summary.md
failed=0

# Runs a step: its output into NAME.txt, its end into the summary, at once. Goes on when it fails.
step() { # name, limit in seconds, command...
    local name=$1 limit=$2 start=$SECONDS left=$((seconds - SECONDS)) status=0 end="done"
    shift 2
    grep -qE "$only" <<<"$name" || return 0
    if [ "$left" -lt 5 ]; then
        echo "| $name | no time left | |" >>"$summary"
        return
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    echo "== $SECONDS s: $name, at most $limit s" >&2
    timeout --signal INT --kill-after 10 "$limit" "$@" >"$out/$name.txt" 2>"$out/$name.log" || status=$?
    case $status in
        0) ;;
        124 | 137) end="stopped at its limit" ;;
        *)
            failed=1
            end="FAILED with status $status"
            tail -n 5 "$out/$name.log" >&2
            ;;
    esac
    echo "| $name | $end | $((SECONDS - start)) s |" >>"$summary"
}

# shellcheck disable=SC2317 # `step` calls it.
environment() {
    date -u +%Y-%m-%dT%H:%M:%SZ
    echo "commit $(cat commit)"
    uname -srm
    command -v nvidia-smi >/dev/null &&
        nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
    "$bayeslora" --version
}

fence='```'
{
    printf '# bayeslora on a GPU\n\n%s\n' "$fence"
    environment
    printf '%s\n\n| step | | |\n|---|---|---|\n' "$fence"
} >"$summary"

# Small enough for a software adapter, which compiles tiles slowly: a batch of one has few candidates.
if [ -n "$dry_run" ]; then
    large=(--batch 1 --size 32 --samples 2) small=(--batch 2 --size 32 --samples 2) runs=(--runs 5)
    tuned=(--batch-size 1 --resolution 32)
    train=(--resolution 32 --limit-train 20 --limit-test 10 --epochs 1 --batch-size 10)
    golden=golden::features engine=(gradients::)
else
    large=(--batch 256 --size 224 --samples 16) small=(--batch 32 --size 64 --samples 8) runs=(--runs 5)
    tuned=(--batch-size 256 --resolution 224)
    train=(--resolution 224 --epochs 2 --batch-size 256)
    golden=golden:: engine=(gradients:: gates:: elbo:: merge:: tuning::)
fi
half=(--precision f16)
torch() { # name, size...
    local name=$1
    shift
    step "$name" 60 "$python" pytorch.py --out "$out/$name.json" "$@" "${runs[@]}"
}
"$python" -c 'import torch' 2>/dev/null || {
    torch() { echo "| $1 | skipped: $python has no PyTorch | |" >>"$summary"; }
}
# Whole steps, each with a report of its own, so that a limit takes no other's result.
whole_steps() { # name, options...
    local name=$1 part
    shift
    for part in forward train predictive; do
        step "$name-$part" 40 "$bayeslora" bench --filter "$part" --out "$out/$name-$part.json" "$@"
    done
}

step devices 20 "$bayeslora" devices
step test-operations 90 bin/test-operations
step test-golden 60 bin/test-engine "$golden"
step tune-224 80 "$bayeslora" devices --tune "${tuned[@]}"
whole_steps bench-224 "${large[@]}"
torch pytorch-224 "${large[@]}"
step tune-224-f16 90 "$bayeslora" devices --tune "${half[@]}" "${tuned[@]}"
whole_steps bench-224-f16 "${half[@]}" "${large[@]}"
step plan-224 30 "$bayeslora" plan --mode train --time "${tuned[@]}"
step plan-224-f16 30 "$bayeslora" plan --mode train --time "${half[@]}" "${tuned[@]}"
step peak 30 "$bayeslora" bench --filter peak --out "$out/peak.json" "${large[@]}"
whole_steps bench-64 "${small[@]}"
torch pytorch-64 "${small[@]}"
step training 60 "$bayeslora" train --json --out "$out/run" --data "$data" "${train[@]}"
whole_steps bench-64-f16 "${half[@]}" "${small[@]}"
step kernels-224 40 "$bayeslora" bench --filter kernels --out "$out/kernels-224.json" "${large[@]}"
step devices-json 20 "$bayeslora" devices --json
step test-engine 90 bin/test-engine "${engine[@]}"
step test-memory 60 bin/test-memory

for name in devices "$out"/bench-*.txt pytorch-224 pytorch-64 peak; do
    name=$(basename "$name" .txt)
    [ -s "$out/$name.txt" ] || continue
    printf '\n## %s\n\n%s\n%s\n%s\n' "$name" "$fence" "$(cat "$out/$name.txt")" "$fence" >>"$summary"
done
echo "results and summary.md in $out" >&2
exit "$failed"
