#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# On a machine with a GPU: build, test, sanitize, time. No network, nothing outside the repository:
# the machine's own python3 with torch, pybind11, scikit-build-core, cmake and ninja, and its nvcc.
#   bench/gpu.sh [OUTPUT.json]        default: bench/results/<gpu>.json, and <gpu>-networks.json
# Below 9 minutes: the steps' limits add up to 525 seconds. ARCHITECTURES=native by default;
# SKIP="memcheck racecheck initcheck timing networks" leaves steps out. A step that fails does not
# keep the next ones from running; the last line tells which did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=${1:-}
SITE=$PWD/build/gpu/site
export PATH=$PATH:/usr/local/cuda/bin
failed=()

# NAME SECONDS COMMAND...
step() {
  local name=$1 limit=$2
  shift 2
  if [[ " ${SKIP:-} " == *" $name "* ]]; then return; fi
  printf '\n== %s (after %ss)\n' "$name" "$SECONDS"
  timeout --kill-after=5 "$limit" "$@" || failed+=("$name")
}

# Warnings are errors where the versions of what gives them are pinned; here they are the machine's.
pytest=(python3 -m pytest -q -p no:cacheprovider -W default -m cuda --error-for-skips)

# A volume and images, networks too, with the loop's edges. Torch's cache of memory would hide what
# lies outside of an array.
sanitize() {
  step "$1" 35 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
    compute-sanitizer --tool "$1" --error-exitcode 9 --kernel-regex kns=phase_kernel \
    "${pytest[@]}" -k "small and matches_reference and extended or small_rln and 7x9x13 or small_pixel_mlp" \
    tests/test_fft_convolve.py tests/test_richardson_lucy.py tests/test_cuda_networks.py
}

step build 150 python3 -m pip install --quiet --no-index --no-build-isolation --no-deps --upgrade \
  --target "$SITE" -C build-dir=build/gpu/work -C cmake.define.OTFUSE_CUDA=ON \
  -C cmake.define.OTFUSE_CUDA_ARCHITECTURES="${ARCHITECTURES:-native}" .
export PYTHONPATH=$SITE
python3 -c 'import otfuse; otfuse.show_config()'
step test 110 "${pytest[@]}" tests/test_cuda.py tests/test_ops.py \
  tests/test_fft_convolve.py tests/test_rl_*.py tests/test_richardson_lucy*.py \
  tests/test_cuda_networks.py tests/test_cli_train.py
for tool in memcheck racecheck initcheck; do sanitize $tool; done
step timing 90 python3 bench/gpu.py ${output:+--output "$output"}
step networks 70 python3 bench/gpu_networks.py ${output:+--output "${output%.json}-networks.json"}
printf '\n== done in %ss; failed: %s\n' "$SECONDS" "${failed[*]:-nothing}"
((${#failed[@]} == 0))
