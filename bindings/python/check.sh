#!/usr/bin/env bash
# Installs a wheel in an environment of its own, and runs the suite and the type checker on it.
#
#   check.sh WHEEL [RUN PICTURE]        with a run, its answers are compared with the command line's
set -euo pipefail
wheel=$(realpath "$1")
cd "$(dirname "$0")"
python3 -c 'import ensurepip, venv' 2>/dev/null || {
    echo "check: python3 cannot make environments: apt-get install python3-venv" >&2
    exit 1
}

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install -q -r tests/requirements.txt "$wheel"
if [ $# -ge 3 ]; then
    export BAYESLORA_RUN=$2 BAYESLORA_PICTURE=$3
    export BAYESLORA_PROGRAM=${CARGO_TARGET_DIR:-../../target}/release/bayeslora
fi
"$venv/bin/python" -m pytest
"$venv/bin/python" -m mypy.stubtest bayeslora
"$venv/bin/python" -m mypy --cache-dir "$venv/cache" tests/typed.py
