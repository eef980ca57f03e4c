#!/bin/sh
# Installs what tests need and the machine lacks, when we may (Debian, root): psql, pgbench, redis-server, openssl, the hosts of
# failover/network, the drivers of drivers/matrix, and the browser of page (test/integration). Tests that need what is not there are
# skipped by name.
set -eu
missing=

# want PACKAGES COMMAND…: the packages are missing when the command fails.
want() {
  packages=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $packages"
}

want postgresql-client command -v psql
ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1 || want postgresql-contrib command -v pgbench
want redis-server command -v redis-server
want openssl command -v openssl
want iproute2 command -v ip
want iptables command -v iptables
# Debian's interpreters, whatever else is on the PATH.
want python3-psycopg2 /usr/bin/python3 -c 'import psycopg2'
want python3-psycopg /usr/bin/python3 -c 'import psycopg'
want python3-asyncpg /usr/bin/python3 -c 'import asyncpg'
want python3-sqlalchemy /usr/bin/python3 -c 'import sqlalchemy'
want 'unixodbc odbc-postgresql python3-pyodbc' /usr/bin/python3 -c 'import pyodbc; pyodbc.drivers().index("PostgreSQL Unicode")'
want default-jdk-headless /usr/bin/javac -version
want libpostgresql-jdbc-java test -e /usr/share/java/postgresql.jar
want 'golang-go golang-github-jackc-pgx-v4-dev' test -e /usr/bin/go -a -e /usr/share/gocode/src/github.com/jackc/pgx/v4
want ruby-pg /usr/bin/ruby -rpg -e 1
want 'php-cli php-pgsql' /usr/bin/php -r 'exit(extension_loaded("pdo_pgsql") ? 0 : 1);'
want libdbd-pg-perl /usr/bin/perl -MDBD::Pg -e 1
want 'chromium fonts-dejavu-core' command -v chromium
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
if ! apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
  # Of another release one may have another name: the others all the same.
  for package in $missing; do
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null || echo "not installed: $package" >&2
  done
fi
