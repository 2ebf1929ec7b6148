#!/usr/bin/env bash
# Everything that a day with a real GPU is for, in one command.
#
#   benches/gpu_day.sh pack DIR     where cargo is: build, strip, and copy what `run` needs into DIR
#   DIR/gpu_day.sh run [OPTIONS]    on the GPU's machine, which needs a Vulkan driver and no cargo;
#                                   in the repository itself it packs first
#     --out DIR      where the results go [default: $OUT, else ./gpu-results]
#     --data DIR     CIFAR-10 in its binary layout [default: what was packed, else the embedded sample]
#     --minutes N    for the training run and for the study, each [default: 10]
#     --adapter A    as bayeslora's [default: the best one; the tests always take that]
#     --python P     a Python with PyTorch; without PyTorch its part is skipped [default: python3]
#     --quick        everything in a few minutes even on a software adapter, to try the script
#   With `pack`, --data DIR takes the data set along.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# They run every variant of every kernel against its twin, and the whole model.
tests=(operations engine memory)

usage() {
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"
}

fail() {
    echo "gpu_day: $*" >&2
    exit 2
}

pack() { # folder, data set or nothing
    local folder=$1 data=$2 arguments=() log binary name
    [ -f "$here/../Cargo.toml" ] || fail "pack works in the repository only"
    command -v cargo >/dev/null || fail "pack needs cargo"
    mkdir -p "$folder/bin" "$folder/tests/fixtures"
    folder=$(cd "$folder" && pwd)
    cd "$here/.."
    cargo build --release
    for name in "${tests[@]}"; do arguments+=(--test "$name"); done
    log=$(cargo test --release --no-run "${arguments[@]}" 2>&1) || {
        echo "$log" >&2
        exit 1
    }
    for name in "${tests[@]}"; do
        binary=$(sed -n "s|.*(\(.*/deps/$name-[0-9a-f]*[.exe]*\)).*|\1|p" <<<"$log")
        [ -n "$binary" ] || fail "cargo does not tell where it put the test $name"
        cp "$binary" "$folder/bin/test-$name"
    done
    cp "${CARGO_TARGET_DIR:-target}/release/bayeslora" "$folder/bin/"
    strip "$folder"/bin/* || echo "gpu_day: not stripped" >&2
    cp -r tests/fixtures/golden "$folder/tests/fixtures/"
    cp benches/peers/pytorch.py "${BASH_SOURCE[0]}" "$folder/"
    git rev-parse HEAD >"$folder/commit" 2>/dev/null || echo unknown >"$folder/commit"
    if [ -n "$data" ]; then
        mkdir -p "$folder/data"
        cp "$data"/*.bin "$folder/data/"
    fi
    echo "packed into $folder ($(du -sh "$folder" | cut -f1))"
}

mode=${1:-}
[ $# -gt 0 ] && shift
case $mode in
    pack)
        folder=${1:-}
        [ -n "$folder" ] || fail "pack needs a folder"
        case ${2:-} in
            --data) pack "$folder" "$(cd "${3:?--data needs a folder}" && pwd)" ;;
            "") pack "$folder" "" ;;
            *) fail "unknown option $2" ;;
        esac
        exit
        ;;
    run) ;;
    *)
        usage
        exit 2
        ;;
esac

out=${OUT:-./gpu-results}
data='' minutes=10 adapter='' python=python3 quick=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1 ;;
        --out | --data | --minutes | --adapter | --python)
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
[ -z "$data" ] || data=$(cd "$data" && pwd)
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac

if [ ! -x "$here/bin/bayeslora" ]; then
    # In a process of its own: the script goes on with the packed copies.
    "${BASH_SOURCE[0]}" pack "$here/../target/gpu-day"
    here=$here/../target/gpu-day
fi
cd "$here"
bayeslora=$here/bin/bayeslora
[ -z "$adapter" ] || export BAYESLORA_ADAPTER=$adapter
if [ -z "$data" ] && [ -d data ]; then data=$here/data; fi

summary=$out/summary.md
failed=0

# Runs a step, its output into NAME.txt and its end into the summary; goes on when it fails.
step() { # name, command...
    local name=$1 start=$SECONDS status=0
    shift
    echo "== $name" >&2
    "$@" >"$out/$name.txt" 2>"$out/$name.log" || status=$?
    if [ "$status" -ne 0 ]; then
        failed=1
        tail -n 5 "$out/$name.log" >&2
    fi
    local end="done"
    [ "$status" -eq 0 ] || end="FAILED with status $status"
    echo "| $name | $end | $((SECONDS - start)) s |" >>"$summary"
}

environment() {
    date -u +%Y-%m-%dT%H:%M:%SZ
    echo "commit $(cat commit)"
    uname -srm
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
    "$bayeslora" --version
}

# shellcheck disable=SC2317 # `step` calls it.
# A command until it is over or the time is up; what it wrote until then stays.
timed() {
    local status=0
    timeout --signal INT --kill-after 60 "${minutes}m" "$@" || status=$?
    # 124: the time was up.
    [ "$status" -eq 124 ] || return "$status"
    echo "stopped after $minutes minutes" >&2
}

fence='```'
{
    printf '# bayeslora on %s\n\n%s\n' "$(hostname)" "$fence"
    environment
    printf '%s\n\n| step | | |\n|---|---|---|\n' "$fence"
} >"$summary"
step devices "$bayeslora" devices
step devices-json "$bayeslora" devices --json
for name in "${tests[@]}"; do
    if [ -n "$quick" ] && [ "$name" != golden ] && [ "$name" != merge ]; then
        step "list-$name" "bin/test-$name" --list
    else
        step "test-$name" "bin/test-$name"
    fi
done
if [ -n "$quick" ]; then
    small=(--batch 4 --size 64 --samples 2)
    large=(--batch 2 --size 96 --samples 2)
    step bench-64 "$bayeslora" bench --out "$out/bench-64.json" "${small[@]}"
    step bench-224 "$bayeslora" bench --out "$out/bench-224.json" --filter train "${large[@]}"
    small+=(--runs 5) large+=(--runs 5)
    train=(--resolution 64 --limit-train 40 --limit-test 20 --epochs 1 --batch-size 8)
else
    small=(--batch 32 --size 64 --samples 8)
    large=(--batch 256 --size 224 --samples 16)
    step bench-64 "$bayeslora" bench --out "$out/bench-64.json" "${small[@]}"
    step bench-224 "$bayeslora" bench --out "$out/bench-224.json" "${large[@]}"
    # The column beside PyTorch's bf16; it fails on adapters without f16.
    half=(--precision f16)
    step bench-64-f16 "$bayeslora" bench --out "$out/bench-64-f16.json" "${half[@]}" "${small[@]}"
    step bench-224-f16 "$bayeslora" bench --out "$out/bench-224-f16.json" "${half[@]}" "${large[@]}"
    step devices-tuned "$bayeslora" devices --json
    train=(--resolution 224 --epochs 5 --batch-size 256)
fi
if "$python" -c 'import torch' 2>/dev/null; then
    step pytorch-64 "$python" pytorch.py --out "$out/pytorch-64.json" "${small[@]}"
    step pytorch-224 "$python" pytorch.py --out "$out/pytorch-224.json" "${large[@]}"
else
    echo "| pytorch | skipped: $python has no PyTorch | |" >>"$summary"
fi
rm -rf "$out/run"
step training timed "$bayeslora" train --json --out "$out/run" --data "${data:-sample}" "${train[@]}"
# The same command goes on where it stopped.
if [ -n "$quick" ] || [ -z "$data" ]; then scale=(smoke); else scale=(desk --data "$data"); fi
step study timed "$bayeslora" reproduce --out "$out/study" --scale "${scale[@]}"

for name in devices bench-64 bench-64-f16 pytorch-64 bench-224 bench-224-f16 pytorch-224 training study; do
    [ -f "$out/$name.txt" ] || continue
    printf '\n## %s\n\n%s\n%s\n%s\n' "$name" "$fence" "$(cat "$out/$name.txt")" "$fence" >>"$summary"
done
echo "results and summary.md in $out" >&2
exit "$failed"
