#!/usr/bin/env bash
# Whole steps with every software driver at hand, in one table: medians of runs that take turns.
#
#   benches/drivers.sh [OPTIONS] [PROGRAM...]
#     PROGRAM...       what is measured; of two or more, each is compared with the first [default: target/release/bayeslora]
#     --root DIR       also the Mesa of another system that lies in DIR, as debootstrap leaves one with
#                      mesa-vulkan-drivers and libvulkan1 installed; may be repeated
#     --icd FILE       also the driver of a Vulkan manifest (SwiftShader's); may be repeated
#     --steps LIST     forward, train (also from cached features), predictive [default: forward,train,predictive]
#     --runs N         of each program with each driver [default: 3]
#     --only REGEX     drivers whose version or manifest matches
#     --out DIR        keep the reports there
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; }
fail() { echo "drivers: $*" >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=benches/system.sh
. "$here/benches/system.sh"
roots=() manifests=() programs=() runs=3 steps=forward,train,predictive only= out=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit ;;
    --root | --icd | --steps | --runs | --only | --out) [ $# -gt 1 ] || fail "$1 needs a value" ;;&
    --root) roots+=("$2"); shift ;;
    --icd) manifests+=("$2"); shift ;;
    --steps) steps=$2; shift ;;
    --runs) runs=$2; shift ;;
    --only) only=$2; shift ;;
    --out) out=$2; shift ;;
    -*) fail "unknown option $1 (--help lists them)" ;;
    *) programs+=("$1") ;;
    esac
    shift
done
[ ${#programs[@]} -gt 0 ] || programs=("$here/target/release/bayeslora")
for program in "${programs[@]}"; do [ -x "$program" ] || fail "$program is no program: build it with \`cargo build --release\`"; done
command -v python3 >/dev/null || fail "the table needs python3"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -n "$out" ] || out=$work/reports
mkdir -p "$out"
rm -f "$out"/[0-9]*.json

# A driver is a manifest and the folder of libraries that it runs with, empty for this system's.
drivers=()
for manifest in /usr/share/vulkan/icd.d/lvp_icd*.json /etc/vulkan/icd.d/lvp_icd*.json "${manifests[@]}"; do
    [ ! -f "$manifest" ] || drivers+=("$manifest|")
done
for root in "${roots[@]}"; do
    library=$(driver_library "$root" lvp) || fail "$root has no libvulkan_lvp.so: install mesa-vulkan-drivers there"
    manifest=$work/lvp_icd.${#drivers[@]}.json
    write_manifest "$library" "$manifest"
    drivers+=("$manifest|$(dirname "$library")")
done
[ ${#drivers[@]} -gt 0 ] || fail "no software driver is installed: install mesa-vulkan-drivers, or give --root or --icd"

with() { # driver number, program, arguments...
    # Mesa 25.0 confuses functions of different vector widths in one cache.
    XDG_CACHE_HOME=$work/cache-$1 with_driver "${drivers[$1]%|*}" "${drivers[$1]#*|}" "${@:2}"
}

for driver in "${!drivers[@]}"; do
    name=$(with "$driver" "${programs[0]}" devices --json --adapter cpu 2>/dev/null |
        python3 -c 'import json, sys; a = json.load(sys.stdin); print(a["adapters"][a["chosen"]]["driver"])') || {
        echo "drivers: ${drivers[$driver]%|*} does not run here and is left out" >&2
        unset "drivers[$driver]"
        continue
    }
    [[ "$name ${drivers[$driver]}" =~ $only ]] || unset "drivers[$driver]"
done

for run in $(seq "$runs"); do
    for driver in "${!drivers[@]}"; do
        for step in ${steps//,/ }; do
            for program in "${!programs[@]}"; do
                with "$driver" "${programs[$program]}" bench --adapter cpu --filter "$step" --json \
                    >"$out/$driver-$program-$run-$step.json" 2>"$work/log" || {
                    cat "$work/log" >&2
                    fail "${programs[$program]} failed with ${drivers[$driver]%|*}"
                }
            done
        done
    done
done

python3 - "$out" "${programs[@]}" <<'END'
import collections, json, pathlib, statistics, sys

speeds = collections.defaultdict(dict)
names, steps = {}, []
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    driver, program, run, _ = path.stem.split("-", 3)
    report = json.loads(path.read_text())
    environment = report["environment"]
    names[driver] = f'{environment["adapter"]}, {environment["driver_info"]}'
    for row in report["results"]:
        if row["unit"] == "images/s":
            speeds[driver, row["name"], program][run] = row["value"]
            if row["name"] not in steps:
                steps.append(row["name"])
print("| driver | program | " + " | ".join(steps) + " |")
print("|---" * (len(steps) + 2) + "|")
for driver in sorted(names, key=int):
    for number, program in enumerate(sys.argv[2:]):
        cells = []
        for step in steps:
            mine, first = speeds[driver, step, str(number)], speeds[driver, step, "0"]
            ratios = [mine[run] / first[run] for run in mine if run in first]
            versus = f" ({statistics.median(ratios):.2f})" if number else ""
            cells.append(f"{statistics.median(mine.values()):.0f}{versus}")
        print(f"| {names[driver]} | {program} | " + " | ".join(cells) + " |")
END
