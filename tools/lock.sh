#!/usr/bin/env bash
# Pins today's newest packages, with hashes, for every platform and Python that safepoint supports.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pip install -q uv
compile() {
  .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --upgrade pyproject.toml tools/build.in "$@"
}
compile --extra embedded -o requirements.lock
compile --extra embedded --extra dev -o requirements-dev.lock
