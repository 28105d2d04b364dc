#!/usr/bin/env bash
# Pins today's newest packages, with hashes, for every platform and Python that safepoint supports.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
.venv/bin/python -m venv --without-pip "$scratch/venv"
.venv/bin/python -m pip --python "$scratch/venv/bin/python" install -q uv
compile() {
  "$scratch/venv/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --upgrade pyproject.toml tools/build.in --extra embedded "$@"
}
compile --extra dev -o requirements-dev.lock
compile --constraint requirements-dev.lock -o requirements.lock  # the same pins, so that one .venv serves both
