#!/usr/bin/env bash
# Installs what some tests and benchmarks need beside Python packages, where this user may, and says how where not. It never fails,
# asks nothing, and leaves no service and no cluster behind. Tests whose program is absent are skipped with the reason.
# What could not be installed is tried again after a day, or at once by `make system-packages` (--now).
set -euo pipefail
cd -P "$(dirname "$0")/.."
umask 022
policy=/usr/sbin/policy-rc.d
no_cluster=/etc/postgresql-common/createcluster.d/safepoint.conf
mark="made by safepoint's tools/system-packages.sh while it installs"
tried=.venv/.system-packages-tried

has() { [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$1")" ]; }

missing() {
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || echo postgresql
  has pgbouncer || echo pgbouncer
  has strace || echo strace
  has pgbackrest || echo pgbackrest
  has zstd || echo zstd
  [ -e /usr/share/zoneinfo/UTC ] || echo tzdata
}

note() { echo "note: $1: tests and benchmarks that need ${packages[*]} will be skipped. To enable them: $2" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

write_as_root() { # path, text, mode
  as_root mkdir -p "$(dirname "$1")"
  printf '%b\n' "$2" | as_root tee "$1" >/dev/null
  as_root chmod "$3" "$1"
}

# What apt has to say matters only when it fails, and then its last line.
apt() {
  local said
  said=$(as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 timeout 900 \
    apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 "$@" </dev/null 2>&1) && return
  tail -n 1 <<<"$said" >&2
  return 1
}

# Debian starts what it installs, and makes a cluster of its own; tests make theirs.
forbid_services() {
  trap allow_services EXIT
  trap 'exit 130' INT TERM HUP
  write_as_root $no_cluster "# $mark\ncreate_main_cluster = false" 644
  [ -e $policy ] || write_as_root $policy "#!/bin/sh\n# $mark\nexit 101" 755
}

allow_services() {
  as_root rm -f $no_cluster
  ! grep -qs "$mark" $policy || as_root rm -f $policy
}

install_missing() {
  forbid_services
  apt update || true  # one broken source among many need not matter
  apt install -y --no-install-recommends "${packages[@]}" || for package in "${packages[@]}"; do
    apt install -y --no-install-recommends "$package" || true
  done
  # Installed is enabled, and would start with the machine.
  if [[ " ${packages[*]} " = *" pgbouncer "* ]] && has update-rc.d; then
    as_root update-rc.d pgbouncer disable >/dev/null 2>&1 || true
  fi
}

# A run that was killed may have left what forbids services.
! grep -qs "$mark" $policy $no_cluster || allow_services || true
mapfile -t packages < <(missing)
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "${1:-}" != --now ] && [ "$(cat $tried 2>/dev/null)" = "${packages[*]}" ] && [ -n "$(find $tried -mtime -1)" ]; then
  note "not to be had here" "make system-packages"
  exit 0
fi
if ! has apt-get; then
  note "no apt-get here" "install ${packages[*]}"
  exit 0
fi
if [ "$(id -u)" != 0 ] && ! { has sudo && sudo -n true 2>/dev/null; }; then
  note "not root" "sudo apt-get install ${packages[*]}"
  exit 0
fi
echo "installing ${packages[*]}, which some tests and benchmarks need" >&2
install_missing
mapfile -t packages < <(missing)
rm -f $tried
[ ${#packages[@]} -gt 0 ] || exit 0
note "could not install" "make system-packages"
[ ! -d .venv ] || echo "${packages[*]}" > $tried
