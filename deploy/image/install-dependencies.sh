#!/bin/sh
# Makes a virtual environment at $1 with the locked run-time dependencies: wheels only, so no build tools.
set -eu
target=$1
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
  -r deploy/lock/runtime.txt
