# SPDX-License-Identifier: BSD-3-Clause
# make demo | test | lint | sanitize | cuda | bench | wheel | clean
# Needs Python >= 3.10 (with venv), a C++20 compiler and make; everything else goes into .venv.

PYTHON ?= python3
CXX ?= c++
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# Every pip below obeys the pins.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MPLBACKEND := Agg

# pip too: distributions have one that knows no -C.
BUILD_TOOLS := pip scikit-build-core pybind11 cmake ninja
KERNEL_TESTS := tests/test_fft_convolve.py tests/test_richardson_lucy.py tests/test_rl_pointwise.py \
  tests/test_rln_core.py tests/test_conv_thin.py tests/test_pixel_mlp.py tests/test_thin_network.py
# Python sources are used in place; these are what an installation has to be repeated for.
SOURCES := pyproject.toml constraints.txt CMakeLists.txt cmake/cuda.cmake csrc/CMakeLists.txt \
           $(wildcard csrc/*/*.cpp csrc/*/*.hpp csrc/*/*.cu csrc/*/*.cuh)
# CUDA=AUTO builds the CUDA engine into the environment too, for the GPU of this machine; ON for
# every generation of the default, or of CUDA_ARCHITECTURES.
CUDA ?= OFF
CUDA_ARCHITECTURES ?=
# The CUDA kernels' host build is for tests alone: it compiles for minutes.
INSTALL = $(PY) -m pip install --quiet --no-build-isolation -C build-dir=build/venv \
          -C cmake.define.OTFUSE_HOST_KERNELS=$(if $(findstring test,$@),ON,OFF) \
          -C cmake.define.OTFUSE_CUDA=$(CUDA)
say = @printf '\n== %s\n' $(1)

.PHONY: help demo test simd-tests lint sanitize cuda cuda-log cuda-budget bench wheel clean

help:
	@sed -n '2,3s/^# //p' Makefile

demo: $(VENV)/.installed-demo
	$(call say,"demo: blurring and restoring a synthetic specimen into demo/")
	$(BIN)/otfuse demo

test: $(VENV)/.installed-test
	$(call say,"test: the whole test suite")
	$(PY) -m pytest
	@$(MAKE) --no-print-directory simd-tests

# The suite above ran on the best instruction set of this machine; the kernels also run on the others.
simd-tests: $(VENV)/.installed-test
	@best=$$($(PY) -c 'import otfuse; print(otfuse.simd_level())'); \
	for level in avx2 baseline; do \
	  if [ $$level = $$best ]; then continue; fi; \
	  if ! OTFUSE_SIMD=$$level $(PY) -c 'import otfuse; otfuse.simd_level()' 2>/dev/null; then \
	    printf '\n== test: no %s on this processor\n' $$level; continue; fi; \
	  printf '\n== test: the kernels again with OTFUSE_SIMD=%s\n' $$level; \
	  OTFUSE_SIMD=$$level $(PY) -m pytest -q -m 'not slow' $(KERNEL_TESTS) || exit 1; \
	done

lint: $(VENV)/.installed-lint
	$(call say,"lint: ruff")
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(call say,"lint: clang-format")
	find csrc -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror
	$(call say,"lint: mypy on the package")
	$(BIN)/mypy

# Both runtimes are preloaded because Python itself is not built with them; leaks are not looked
# for because the interpreter keeps memory until it exits. The report of a fault goes to file
# descriptor 2, past pytest: no handler of its own, no capturing of descriptors. Without the CUDA
# kernels' host build: with these checks it compiles for more than seven minutes.
sanitize: $(VENV)/.installed-test build/sanitize-venv/.ready
	$(call say,"sanitize: building with AddressSanitizer and UBSan")
	$(PY) -m pip --python build/sanitize-venv/bin/python install --quiet --no-build-isolation \
	  --no-deps --no-cache-dir --force-reinstall \
	  -C build-dir=build/sanitize -C cmake.define.OTFUSE_SANITIZE=ON -C install.strip=false \
	  -C cmake.define.OTFUSE_HOST_KERNELS=OFF -C cmake.define.OTFUSE_CUDA=OFF .
	$(call say,"sanitize: the kernel tests")
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	build/sanitize-venv/bin/python -m pytest -q -m 'not slow' --timeout=900 \
	  -p no:faulthandler --capture=sys $(KERNEL_TESTS)

# The device code alone, for one generation, with warnings as errors; then what ptxas says of each
# kernel against csrc/cuda/ptxas_budget.txt. `make cuda-budget` accepts what it says.
cuda: cuda-log
	$(PY) .ci/ptxas.py build/cuda/ptxas.log

cuda-budget: cuda-log
	$(PY) .ci/ptxas.py build/cuda/ptxas.log --write

cuda-log: $(VENV)/.created
	@mkdir -p build
	$(call say,"cuda: compiling the device code for $(or $(CUDA_ARCHITECTURES),90)")
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/cuda -G Ninja \
	  -DSKBUILD_PROJECT_VERSION=0 -Dpybind11_DIR="$$($(PY) -m pybind11 --cmakedir)" \
	  -DPython_EXECUTABLE="$(abspath $(PY))" -DOTFUSE_CUDA=ON -DOTFUSE_WERROR=ON \
	  -DOTFUSE_CUDA_ARCHITECTURES="$(or $(CUDA_ARCHITECTURES),90)" >build/cuda-configure.log \
	  || { cat build/cuda-configure.log; exit 1; }
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/cuda --target otfuse_cuda --clean-first \
	  >build/cuda/ptxas.log 2>&1 || { grep -v ptxas build/cuda/ptxas.log; exit 1; }

bench: $(VENV)/.installed-bench
	$(call say,"bench: timing against plain torch and the installed peers")
	$(PY) bench/run.py
	$(PY) bench/table.py

# Built the way a user's pip builds it, then imported without the source tree. With CUDA=ON also what
# ptxas says is checked, and what a machine without a GPU is told.
wheel: $(VENV)/.installed-test build/wheel-venv/.ready
	$(call say,"wheel: building into dist/")
	rm -rf dist
	PIP_BUILD_CONSTRAINT=constraints.txt $(PY) -m pip wheel --verbose --no-deps --no-cache-dir --wheel-dir dist \
	  -C cmake.define.OTFUSE_CUDA=$(CUDA) \
	  $(if $(CUDA_ARCHITECTURES),-C cmake.define.OTFUSE_CUDA_ARCHITECTURES="$(CUDA_ARCHITECTURES)") \
	  . >build/wheel.log 2>&1 \
	  || { tail -n 50 build/wheel.log; exit 1; }
	$(PY) -m pip --python build/wheel-venv/bin/python install --quiet --no-deps --force-reinstall dist/*.whl
	cd build && wheel-venv/bin/python -c "import otfuse; otfuse.show_config()"
	cd build && wheel-venv/bin/otfuse --help >/dev/null
	$(if $(filter ON,$(CUDA)),$(PY) .ci/ptxas.py build/wheel.log)
	$(if $(filter ON,$(CUDA)),build/wheel-venv/bin/python .ci/without_gpu.py)
	@ls -l dist

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.created: constraints.txt
	$(call say,"environment: $(VENV) with $$($(PYTHON) --version)")
	@$(PYTHON) -m venv $(VENV) || { echo "python cannot make virtual environments; install its venv module (Debian: python3-venv)"; exit 1; }
	$(PY) -m pip install --quiet $(BUILD_TOOLS)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.created $(SOURCES)
	$(call say,"install: otfuse and what it needs into $(VENV)")
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created $(SOURCES)
	$(call say,"install: otfuse with its test extra into $(VENV)")
	$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-lint: $(VENV)/.installed-test
	$(call say,"install: the linters")
	$(PY) -m pip install --quiet ruff mypy clang-format
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.created $(SOURCES)
	$(call say,"install: otfuse with its bench extra into $(VENV)")
	$(INSTALL) -e '.[bench]'
	@touch $@ $(VENV)/.installed-demo

# An environment of its own that borrows the packages of $(VENV), but not its editable otfuse:
# the hook of an editable installation is not followed through another environment's path file.
build/%-venv/.ready: $(VENV)/.created
	@mkdir -p build
	@$(PYTHON) -m venv --without-pip build/$*-venv
	@$(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > "$$(build/$*-venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/borrowed.pth"
	@touch $@
