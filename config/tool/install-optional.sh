#!/bin/sh
# Installs psql, pgbench, redis-server and openssl where they are missing and we may (Debian, root). Tests that need them skip by name
# otherwise.
set -eu
missing=
command -v psql >/dev/null 2>&1 || missing="postgresql-client"
if ! command -v pgbench >/dev/null 2>&1 && ! ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1; then
  missing="$missing postgresql-contrib"
fi
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed:$missing (tests that need them are skipped)" >&2
  exit 0
fi
# Debian starts a server right after the installation of one: we want the programs, not the server.
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq >/dev/null
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
