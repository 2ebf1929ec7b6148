#!/usr/bin/env bash
# Installs a wheel in an environment of its own, and runs the suite and the type checker on it.
#
#   check.sh WHEEL [RUN PICTURE]        with a run, its answers are compared with the command line's
set -euo pipefail
wheel=$(realpath "$1")
if [ $# -ge 3 ]; then
    BAYESLORA_RUN=$(realpath "$2") BAYESLORA_PICTURE=$(realpath "$3")
    export BAYESLORA_RUN BAYESLORA_PICTURE
fi
cd "$(dirname "$0")"
python3 -c 'import ensurepip, venv' 2>/dev/null || {
    echo "check: python3 cannot make environments: apt-get install python3-venv" >&2
    exit 1
}

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
export MYPY_CACHE_DIR=$venv/cache
"$venv/bin/pip" install -q -r tests/requirements.txt "$wheel"
export BAYESLORA_PROGRAM=${CARGO_TARGET_DIR:-../../target}/release/bayeslora
"$venv/bin/python" -m pytest
"$venv/bin/python" -m mypy.stubtest bayeslora
"$venv/bin/python" -m mypy tests/typed.py
