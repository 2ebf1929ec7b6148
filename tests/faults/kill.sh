#!/usr/bin/env bash
# Kills `bayeslora` with SIGKILL at random moments and, where there is strace, before each of its renames and
# fsyncs; whatever is left must go on to the same bits. Minutes: run by hand. `reproduce` takes minutes itself: one
# study is killed again and again on its way, at moments and renames in turn.
#
#   tests/faults/kill.sh target/release/bayeslora [random kills, 20 [command ...]]
set -euo pipefail
program=$(realpath "$1") count=${2:-20}
commands=("${@:3}")
[ $# -gt 2 ] || commands=(train tune prune laplace temperature reproduce)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
options=(--data sample --limit-train 100 --limit-test 10 --rank 2 --targets layer4.1 --resolution 32
    --validation 0.2 --batch-size 8 --epochs 4 --lr 0.01 --kl-multiplicity 0.01 --prune-from 2)
test=(--data sample --limit-test 20)
files=(adapter/adapter_model.safetensors adapter/bayeslora.safetensors adapter/bayeslora.json)
failures=0
renames=rename,renameat,renameat2

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

same() { # run, reference
    for file in "${files[@]}"; do cmp -s "$1/$file" "$2/$file" || return 1; done
}

launcher=() # what kills the program
run() { "${launcher[@]}" "$program" "$@"; }
train() { run train --out "$1" "${options[@]}"; }

resume() { # as a user does: go on, or start again where the program says so
    run train --resume --out cut || { [ $? = 2 ] && train cut; }
}

tune() { run tune --run whole --out cut --kl-multiplicity 0.1,1; }
prune() { run prune --run whole --threshold=-4 --out cut; }
laplace() { run laplace --run cut --structure last-layer-kron "${test[@]}"; }
temperature() { run eval --run cut --samples 2 --temperature --force "${test[@]}"; }
predict() { run predict --run cut --samples 2 --temperature pixel.png; }

train whole >/dev/null 2>&1
"$program" tune --run whole --out tuned --kl-multiplicity 0.1,1 >/dev/null 2>&1
"$program" prune --run whole --threshold=-4 --out pruned >/dev/null 2>&1
base64 -d >pixel.png <<<iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==

# What a command is started with, what is done after the kill, and what must hold then.
begin() {
    rm -rf cut cut.*
    case $1 in laplace | temperature) cp -r whole cut ;; esac
}
# A reader meets something whole or nothing at all, at any time.
readable() {
    for run in cut cut/0.1 cut/1; do
        [ ! -d $run/adapter ] || [ ! -f $run/config.toml ] ||
            "$program" plan --mode forward --run $run --batch-size 1 || return 1
    done
}
finish() {
    case $1 in
    train) resume ;;
    temperature) temperature && predict ;;
    prune) [ -f cut/config.toml ] || prune ;;
    *) "$1" ;;
    esac
}
holds() {
    case $1 in
    train) same cut whole ;;
    tune) same cut/0.1 tuned/0.1 && same cut/1 tuned/1 ;;
    prune) same cut pruned ;;
    *) same cut whole ;;
    esac
}
judge() { # command, where it was killed
    readable >log 2>&1 || { fail "$1, killed $2: not readable"; cat log; }
    finish "$1" >log 2>&1 || { fail "$1, killed $2: does not go on"; cat log; return; }
    holds "$1" || fail "$1, killed $2: other bits"
}

reproduce() { run reproduce --scale smoke --data sample --out "$1"; }

study() {
    reproduce whole-study >/dev/null 2>&1
    local kills=0 ended=1 moment file
    while [ $ended != 0 ]; do
        launcher=(timeout --foreground -s KILL $((RANDOM % 60 + 5)))
        if [ $((kills % 2)) = 1 ] && command -v strace >/dev/null; then
            moment=$((RANDOM % 30 + 1))
            launcher=(strace -f -qq -o /dev/null -e trace=$renames -e inject=$renames:signal=KILL:when=$moment)
        fi
        ended=0
        reproduce cut-study >log 2>&1 || ended=$?
        case $ended in
        0) ;;
        137) kills=$((kills + 1)) ;;
        *) fail "reproduce, killed $kills times: does not go on" && cat log && break ;;
        esac
    done
    launcher=()
    while read -r file; do
        cmp -s "whole-study/$file" "cut-study/$file" || fail "reproduce: other bits in $file"
    done < <(cd whole-study && find runs -name '*.npy' -o -name '*.safetensors' -not -path '*/checkpoint*' -o -name cuts.json)
    echo "reproduce: killed $kills times on its way"
}

for command in "${commands[@]}"; do
    [ "$command" != reproduce ] || { study; continue; }
    begin "$command"
    start=$(date +%s%N)
    "$command" cut >/dev/null 2>&1
    took=$((($(date +%s%N) - start) / 1000000))
    for ((i = 0; i < count; i++)); do
        begin "$command"
        moment=$((RANDOM * took / 32768))
        launcher=(timeout --foreground -s KILL "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))")
        "$command" cut >/dev/null 2>&1 || true
        launcher=()
        judge "$command" "after $moment ms"
    done
    echo "$command: $count random kills in $took ms"
done

if command -v strace >/dev/null; then
    for calls in $renames fsync; do
        for command in "${commands[@]}"; do
            [ "$command" != reproduce ] || continue
            for ((n = 1; ; n++)); do
                begin "$command"
                launcher=(strace -f -qq -o /dev/null -e trace=$calls -e inject=$calls:signal=KILL:when=$n)
                ended=0
                "$command" cut >/dev/null 2>&1 || ended=$?
                launcher=()
                [ $ended != 0 ] || break
                judge "$command" "before its $n. $calls"
            done
            echo "$command: killed before each of $((n - 1)) calls of $calls"
        done
    done
fi
echo "$failures failures"
[ "$failures" = 0 ]
