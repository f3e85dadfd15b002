#!/usr/bin/env bash
# Runs the tests that call kernels with a module built under AddressSanitizer and
# UndefinedBehaviorSanitizer. Needs gcc, cmake, ninja, pybind11 and the [test] extra.
# usage: tests/sanitize.sh [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-$(mktemp -d)}
pip install -q pybind11
cmake -S . -B "$work/sanitized" -G Ninja -DSKBUILD_PROJECT_VERSION=0 \
  -DPython_EXECUTABLE="$(command -v python)" -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" \
  -DEVENGRAD_TESTS=ON -DEVENGRAD_SANITIZE=address,undefined,float-cast-overflow >/dev/null
cmake --build "$work/sanitized" >/dev/null
ctest --test-dir "$work/sanitized" -R kernels --output-on-failure
cp -r python/evengrad "$work/sanitized/evengrad"
cp "$work"/sanitized/_core*.so "$work/sanitized/evengrad/"
# libstdc++ beside libasan: else the first C++ exception dies in an uninitialised interceptor.
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so.6)"
export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1,print_stacktrace=1
export PYTHONPATH="$work/sanitized"
python -c "import evengrad; assert evengrad.__version__ == '0', evengrad.__file__"
python -m pytest -q -p no:cacheprovider tests/test_activations.py tests/test_affine.py \
  tests/test_averages.py tests/test_batch_norm.py tests/test_clipping.py \
  tests/test_adaptive_clipping.py tests/test_constraints.py tests/test_regularizers.py \
  tests/test_dense.py tests/test_layer_norm.py tests/test_losses.py tests/test_metrics.py \
  tests/test_noise.py tests/test_optimizers.py tests/test_program.py tests/test_python.py tests/test_sources.py
