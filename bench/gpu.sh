#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# On a machine with a GPU: build, test, sanitize, time. No network, nothing outside the repository:
# the machine's own python3 with torch, pybind11, scikit-build-core, cmake and ninja, and its nvcc.
#   bench/gpu.sh [OUTPUT.json]        default: bench/results/<gpu>.json; about 9 minutes at the most
# ARCHITECTURES=native by default; SKIP="sanitize bench networks" leaves steps out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=${1:-}
SITE=$PWD/build/gpu/site
say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
wanted() { [[ " ${SKIP:-} " != *" $1 "* ]]; }

say "build"
python3 -m pip install --quiet --no-index --no-build-isolation --no-deps --upgrade --target "$SITE" \
  -C build-dir=build/gpu/work -C cmake.define.OTFUSE_CUDA=ON -C cmake.define.OTFUSE_HOST_KERNELS=ON \
  -C cmake.define.OTFUSE_CUDA_ARCHITECTURES="${ARCHITECTURES:-native}" .
export PYTHONPATH=$SITE
python3 -c 'import otfuse; otfuse.show_config()'

if wanted test; then
  say "the CUDA tests"
  timeout 150 python3 -m pytest -q -m cuda --error-for-skips tests/test_cuda.py
fi
if wanted sanitize; then
  # torch's cache of memory would hide what lies outside of an array
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1
  for tool in memcheck racecheck initcheck; do
    say "compute-sanitizer $tool"
    timeout 60 compute-sanitizer --tool $tool --error-exitcode 9 --kernel-regex kns=phase_kernel \
      python3 -m pytest -q -p no:cacheprovider -m cuda -k small --error-for-skips tests/test_cuda.py
  done
  unset PYTORCH_NO_CUDA_MEMORY_CACHING
fi
if wanted bench; then
  say "timing"
  timeout 200 python3 bench/gpu.py ${output:+--output "$output"}
fi
if wanted networks; then
  say "the networks: CUDA tests, timing"
  timeout 100 python3 -m pytest -q -m cuda --error-for-skips tests/test_cuda_networks.py
  timeout 200 python3 bench/gpu_networks.py
fi
say "done"
