#!/bin/sh
# Makes /opt/argosy: an environment with the packages of the locks that are named, and Argosy itself; without an installer.
set -e
into="/opt/builder/bin/pip --python /opt/argosy/bin/python3 install --no-cache-dir --no-deps"
python3 -m venv --without-pip /opt/argosy
for lock in "$@"; do
  # shellcheck disable=SC2086 (words on purpose)
  $into ${PIP_OPTIONS} --require-hashes --requirement "locks/$lock.txt"
done
$into --no-index /wheels/*.whl
