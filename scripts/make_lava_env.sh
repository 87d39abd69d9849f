#!/usr/bin/env bash
# Make .venv-lava: a Python 3.10 with lava-nc 0.10.0, the oracle of the chip simulation.
#
#   scripts/make_lava_env.sh [PYTHON3.10]
#
# lava-nc 0.10 runs on Python 3.10 only and needs numpy 1, so it gets an environment of its own.
# Exit status: 0 ready, 1 no Python 3.10 found or the installation failed.
set -euo pipefail

folder=.venv-lava
lava="lava-nc==0.10.0"

is_310() {
    [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.10 ]
}

candidates() {
    command -v python3.10 || true
    local pyenv_root
    for pyenv_root in "$(pyenv root 2>/dev/null || true)" "$HOME/.pyenv"; do
        [ -n "$pyenv_root" ] || continue
        for python in "$pyenv_root"/versions/3.10*/bin/python3.10; do
            [ -x "$python" ] && printf '%s\n' "$python"
        done
    done
    return 0
}

python=
if [ $# -gt 0 ]; then
    if ! is_310 "$1"; then
        echo "make_lava_env: '$1' is not a Python 3.10, which lava-nc 0.10 needs." >&2
        exit 1
    fi
    python=$1
else
    while IFS= read -r candidate; do
        if is_310 "$candidate"; then
            python=$candidate
            break
        fi
    done < <(candidates)
fi
if [ -z "$python" ]; then
    echo "make_lava_env: no Python 3.10 found (tried python3.10 on PATH and pyenv's versions)." >&2
    echo "Install one, for example with 'pyenv install 3.10', or name it: $0 PATH_TO_PYTHON3.10" >&2
    exit 1
fi

echo "make_lava_env: $("$python" --version) -> $folder"
"$python" -m venv --clear "$folder"
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
echo "numpy<2" > "$constraints"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" "$lava"
"$folder/bin/python" -c 'import lava.proc.lif.process, lava.proc.sparse.process, numpy, scipy'
echo "make_lava_env: ready, $lava in $folder"
