#!/usr/bin/env bash
# Make the peers that energy tests compare with, each apart from snnkit's own environment:
#
#   .venv-sanafe       an environment with SANA-FE 2.2.9 (GPL-3: run in a process of its own, never imported)
#   .venv-neurobench   NeuroBench 2.3.0 without its dependencies, for a process that has snnTorch
#
#   scripts/make_energy_peers.sh [PYTHON3.11]
#
# Exit status: 0 ready, 1 the installation of one failed; tests say then which is missing.
set -euo pipefail

python=${1:-python3}
pip="-m pip install --quiet --disable-pip-version-check"
failed=0

rm -rf .venv-sanafe .venv-neurobench
# shellcheck disable=SC2086
"$python" -m venv .venv-sanafe && .venv-sanafe/bin/python $pip "sanafe==2.2.9" \
    || { echo "make_energy_peers: SANA-FE could not be installed" >&2; rm -rf .venv-sanafe; failed=1; }
# shellcheck disable=SC2086
.venv-sanafe/bin/python $pip --no-deps --target .venv-neurobench "neurobench==2.3.0" \
    || { echo "make_energy_peers: NeuroBench could not be installed" >&2; rm -rf .venv-neurobench; failed=1; }
[ "$failed" = 1 ] || echo "make_energy_peers: ready"
exit "$failed"
