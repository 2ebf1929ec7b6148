#!/usr/bin/env bash
# What Radeons' compiler makes of the kernels, without a Radeon: the tables of docs/performance.md.
#
#   benches/static.sh [OPTIONS]
#     --root DIR       the Mesa of another system that lies in DIR, as debootstrap leaves one with
#                      mesa-vulkan-drivers and libvulkan1 installed; this system's if not given
#     --families LIST  as RADV_FORCE_FAMILY has them [default: NAVI21,NAVI31,GFX1201: RDNA2, RDNA3, RDNA4]
#     --only REGEX     kernels whose name matches [default: conv/tiled|conv/matrix|adapter/.*_tiled]
#     --all            every kernel, not only these
#
# Registers per invocation; KiB of workgroup memory; subgroups that a SIMD holds, and their size; instructions of the loop
# that does the work: of the product itself, other vector arithmetic, accesses to workgroup memory and to buffers, the
# rest; and the product's share of the vector units' time.
# Mesa 22 knows RDNA2, and 25 RDNA3 with its matrix units and RDNA4. Mesa 26 does not pose as any.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; }
fail() { echo "static: $*" >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=benches/system.sh
. "$here/benches/system.sh"

root= families=NAVI21,NAVI31,GFX1201 only='conv/tiled|conv/matrix|adapter/.*_tiled'
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit ;;
    --root | --families | --only) [ $# -gt 1 ] || fail "$1 needs a value" ;;&
    --root) root=$2; shift ;;
    --families) families=$2; shift ;;
    --only) only=$2; shift ;;
    --all) only=. ;;
    *) fail "unknown option $1 (--help lists them)" ;;
    esac
    shift
done
command -v python3 >/dev/null || fail "the table needs python3"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
library=$(driver_library "$root" radeon) || fail "$root/usr/lib has no libvulkan_radeon.so: install mesa-vulkan-drivers there"
write_manifest "$library" "$work/radeon_icd.json"
libraries=
[ -z "$root" ] || libraries=$(dirname "$library")

log=$(cd "$here" && cargo test --release --test radeon --no-run 2>&1) || { echo "$log" >&2; exit 1; }
program=$(sed -n 's|.*(\(.*/deps/radeon-[0-9a-f]*\)).*|\1|p' <<<"$log")
# cargo names it from the repository on, unless its folder lies elsewhere.
case $program in /*) ;; *) program=$here/$program ;; esac
[ -x "$program" ] || fail "cargo does not tell where it put the test radeon"

for family in ${families//,/ }; do
    RADV_FORCE_FAMILY=$family XDG_CACHE_HOME=$work/cache with_driver "$work/radeon_icd.json" "$libraries" \
        "$program" --ignored --exact table --nocapture >"$work/$family.txt" 2>"$work/log" || {
        cat "$work/log" >&2
        fail "RADV does not compile as $family"
    }
    grep '^{' "$work/$family.txt" >"$work/$family.jsonl" || { cat "$work/$family.txt" >&2; fail "no kernel for $family"; }
done

python3 - "$only" "$work" ${families//,/ } <<'END'
import json, pathlib, re, sys

only, work, families = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
for family in families:
    rows = [json.loads(line) for line in (work / f"{family}.jsonl").read_text().splitlines()]
    print(f"\n{family}, {rows[0]['device']}\n")
    print("| kernel | registers | spilled | KiB | subgroups | product | other vector | workgroup memory | buffers | scalar | share |")
    print("|---" * 11 + "|")
    for row in rows:
        own, loop = row["statistics"], row["loop"]
        if not re.search(only, row["kernel"]):
            continue
        cells = [
            row["kernel"],
            own["VGPRs"],
            own["Spilled VGPRs"] + own["Spilled SGPRs"],
            f'{own["LDS size"] / 1024:.3g}',
            f'{own["Subgroups per SIMD"]} of {row["subgroup"]}',
            loop["matrices"] or loop["multiply_adds"],
            loop["vector"],
            loop["workgroup"],
            loop["memory"],
            loop["scalar"],
            f'{loop["arithmetic"]:.2f}',
        ]
        print("| " + " | ".join(map(str, cells)) + " |")
END
