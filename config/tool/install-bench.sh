#!/bin/sh
# Installs what `npm run bench` compares with and measures by, where Debian or Ubuntu packages can do it: pgbench, PgBouncer, Pgpool-II.
# The packages' own services are not started: the benchmark runs these programs itself, with files of its own.
# Usage: sh config/tool/install-bench.sh
set -eu

missing=''
ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1 || command -v pgbench >/dev/null || missing="$missing postgresql-contrib"
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing="$missing pgbouncer"
[ -x /usr/sbin/pgpool ] || command -v pgpool >/dev/null || missing="$missing pgpool2"
if [ -z "$missing" ]; then
  echo 'pgbench, PgBouncer and Pgpool-II are installed'
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed:$missing; install them with your package manager (or run this as root on Debian or Ubuntu)" >&2
  exit 1
fi

# What invoke-rc.d asks before it starts a service; only ours is removed again.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
apt-get install -qq --yes --no-install-recommends $missing
