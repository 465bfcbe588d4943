#!/bin/sh
# Installs the sidecar and its stubs into the environment at $1, then takes pip out of it: the final image
# installs nothing.
set -eu
target=$1
build=$(mktemp -d)
# What an earlier build left there would go into the wheels, files since removed included.
rm -rf build clients/python/build
"${PYTHON:-python3}" -m venv "$build"
"$build/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/lock/build.txt
"$build/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --wheel-dir "$build/wheels" ./clients/python .
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index "$build"/wheels/*.whl
"$target/bin/python" -m compileall -q "$target/lib"
"$target/bin/python" -m pip uninstall --quiet --yes pip setuptools 2>/dev/null || "$target/bin/python" -m pip uninstall --quiet --yes pip
rm -rf "$build"
