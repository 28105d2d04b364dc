#!/usr/bin/env bash
# Installs what some tests need beside Python packages, where this user may; says what is missing otherwise.
# Tests whose program is absent are skipped with the reason and this script's command.
set -euo pipefail
packages=()
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || packages+=(postgresql postgresql-contrib)
command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
command -v strace >/dev/null || packages+=(strace)
[ -e /usr/share/zoneinfo/UTC ] || packages+=(tzdata)
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "note: no apt-get here; tests that need ${packages[*]} will be skipped" >&2
  exit 0
fi
if [ "$(id -u)" = 0 ]; then
  root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  root=(sudo -n)
else
  echo "note: not root; tests that need ${packages[*]} will be skipped. To enable them: sudo apt-get install ${packages[*]}" >&2
  exit 0
fi

# No cluster of the distribution's own, no service left running: tests make their own servers.
"${root[@]}" mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' | "${root[@]}" tee /etc/postgresql-common/createcluster.d/safepoint.conf >/dev/null
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
  "${root[@]}" chmod +x $policy
  made_policy=yes
fi
trap '[ $made_policy = no ] || "${root[@]}" rm -f $policy' EXIT
"${root[@]}" apt-get -qq update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null \
  || echo "note: could not install ${packages[*]}; tests that need them will be skipped" >&2
