#!/usr/bin/env bash
# Makes .venv hold exactly what this checkout needs, for `runtime` or for `dev` ($1). At once when it already does.
# Killed anywhere, the next run finishes: the stamps in .venv are written last.
set -euo pipefail
cd -P "$(dirname "$0")/.."
kind=$1
case $kind in
  runtime) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) echo "error: found '$kind', expected runtime or dev" >&2; exit 2 ;;
esac
# Settings of the caller's that would lead pip or Python out of .venv.
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT

# What a part of .venv was made from; a C compiler that arrived later makes the kernel, too.
digest_of() {
  { cat "$1" pyproject.toml tools/setup.sh hatch_build.py src/safepoint/kernel/kernel.c src/safepoint/backup/archive/safepoint_wal.c
    command -v "${CC:-cc}" || true; } | sha256sum
}
is_current() { [ "$(cat ".venv/.$kind" 2>/dev/null)" = "$(digest_of $lock)" ]; }

version_of() { "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Scripts in .venv name the checkout's path, and its packages the Python they were installed for.
identity() { printf '%s\n' "$PWD" "$(version_of .venv/bin/python)"; }

is_usable() {
  [ ! -e .venv/.unfinished ] || return 1
  [ "$(cat .venv/.identity 2>/dev/null)" = "$(identity)" ] || return 1
  [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of .venv/bin/python)" ]
}

pick_python() {
  local candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: found no Python >= 3.11 as ${candidates[*]}, expected one" >&2
  echo "hint: name it: make PYTHON=/path/to/python3.11 …" >&2
  return 1
}

# Debian and Ubuntu ship Python without ensurepip; pip then comes from the package index, checked against the lock.
add_pip() {
  local python=$1 wheel
  .venv/bin/python -I -m ensurepip >/dev/null 2>&1 && return
  "$python" -m pip --python .venv/bin/python install -q pip >/dev/null 2>&1 && return
  wheel=$(.venv/bin/python -I tools/fetch_pip.py $lock .venv) || return 1
  .venv/bin/python -I "$wheel/pip" install -q --no-index --no-deps "$wheel" || return 1
  rm "$wheel"
}

install_venv_package() {
  local root=()
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || return 1
    root=(sudo -n)
  fi
  "${root[@]}" apt-get -qq update >/dev/null 2>&1 || true
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o DPkg::Lock::Timeout=120 \
    install -y --no-install-recommends python3-venv </dev/null >/dev/null 2>&1
}

make_venv() {
  if ! rm -rf .venv; then
    echo "error: found files of another user in .venv, expected to be allowed to make it anew" >&2
    echo "hint: sudo rm -r $PWD/.venv" >&2
    exit 1
  fi
  mkdir .venv
  touch .venv/.unfinished
  "$1" -m venv --without-pip .venv && add_pip "$1"
}

refuse_without_pip() {
  echo "error: found Python without ensurepip and no way to fetch pip, expected one of them" >&2
  echo "hint: as root: apt-get install python3-venv" >&2
  exit 1
}

bring_up_to_date() {
  local python packages
  if ! is_usable; then
    python=$(pick_python)
    echo "making .venv with $("$python" --version)" >&2
    make_venv "$python" || { install_venv_package && make_venv "$python"; } || refuse_without_pip
  fi
  rm -f .venv/.runtime .venv/.dev
  touch .venv/.unfinished
  echo "installing $lock into .venv" >&2
  .venv/bin/python -I -m pip install -qq --require-hashes -r $lock
  .venv/bin/python -I -m pip install -qq --no-deps --no-build-isolation -e .
  # The shop and the demo are run from the checkout.
  packages=$(.venv/bin/python -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$PWD/examples/vivr" > "$packages/safepoint_examples.pth"
  identity > .venv/.identity
  rm .venv/.unfinished
  digest_of requirements.lock > .venv/.runtime  # the development lock holds the same pins, and more
  [ $kind = runtime ] || digest_of $lock > .venv/.dev
}

# Where PYTHONDONTWRITEBYTECODE is set, each of the commands that the tests start would compile what was edited anew.
compile_sources() { .venv/bin/python -I -m compileall -q src examples || true; }

if is_current && is_usable; then compile_sources; exit 0; fi
exec 9<.
flock -n 9 || { echo "waiting for another set-up of this checkout" >&2; flock 9; }
is_current && is_usable || bring_up_to_date
compile_sources
