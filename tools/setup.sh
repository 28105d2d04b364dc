#!/usr/bin/env bash
# Makes .venv with exactly the packages of one lock file ($1) and this checkout in it. Repeatable.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=$1

pick_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      echo "$candidate"
      return
    fi
  done
  echo "error: found no Python >= 3.11, expected one on PATH" >&2
  echo "hint: name it: make PYTHON=/path/to/python3.11 …" >&2
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

# Debian ships Python without ensurepip; its python3-venv package brings it.
make_venv() {
  local python=$1
  if "$python" -m venv .venv >/dev/null 2>&1; then return; fi
  rm -rf .venv
  if command -v apt-get >/dev/null && as_root true; then
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null
    "$python" -m venv .venv
  elif "$python" -m virtualenv --version >/dev/null 2>&1; then
    "$python" -m virtualenv -q .venv
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip .venv
    "$python" -m pip --python .venv/bin/python install -q pip
  else
    echo "error: found Python without ensurepip, expected the venv module whole; nothing was installed" >&2
    echo "hint: as root: apt-get install python3-venv" >&2
    return 1
  fi
}

python=$(pick_python)
[ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv "$python"
echo "installing $lock into .venv" >&2
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
# The shop and the demo are run from the checkout.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/examples/vivr" > "$site/safepoint_examples.pth"
