#!/bin/sh
# The duties of a driver with psql: here what needs more than one of it, the others in duties.sql. One line of JSON for
# each. Rule: no loop without an end, as nobody would end it.
set -eu
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

psql() {
  command psql -X -A -t -q "$@"
}

# refusal PART CONNECTION: what psql says, or that PART was in it.
refusal() {
  if said=$(psql "$2" -c 'SELECT 1' 2>&1); then
    echo 'it was let in'
  elif echo "$said" | grep -q "$1"; then
    echo refused
  else
    echo "$said" | tr '\n"' ' .'
  fi
}

both="host=localhost,localhost port=$CLOSED_PORT,$PGPORT target_session_attrs"
printf '{"duty":"tls","answer":{"modes":[%s,%s],"otherName":"%s"}}\n' \
  "$(psql 'host=127.0.0.1 sslmode=require' -c 'SELECT 1')" \
  "$(psql 'host=127.0.0.1 sslmode=disable' -c 'SELECT 1')" \
  "$(refusal 'does not match host name' 'host=127.0.0.1')"
printf '{"duty":"login","answer":{"wrong":"%s"}}\n' "$(refusal 'password authentication failed' 'password=wrong')"
printf '{"duty":"hosts","answer":{"readOnly":"%s","otherwise":"%s"}}\n' \
  "$(psql "$both=read-write" -c 'SHOW transaction_read_only')" "$(refusal 'is not read-only' "$both=read-only")"

WORK=$work psql -f "$here/duties.sql" 2> "$work/complaints"

# Ctrl-C, when it sleeps: then it ends.
PGAPPNAME=sleeper command psql -X -v VERBOSITY=sqlstate -c 'SELECT pg_sleep(60)' > "$work/slept" 2>&1 &
sleeper=$!
of_mine="application_name = 'sleeper' AND usename = current_user"
asked="SELECT await_sleep(pid) FROM pg_stat_activity WHERE $of_mine"
for _ in $(seq 600); do
  [ "$(psql -c "$asked")" != t ] || break
  sleep 0.05
done
kill -INT "$sleeper"
wait "$sleeper" || true
printf '{"duty":"cancel","answer":{"error":"%s"}}\n' "$(sed -n 's/^ERROR: *//p' "$work/slept")"

# psql tells of a notification behind the next statement.
{
  echo 'LISTEN news;'
  echo "\\! psql -X -q -p $OTHER_PORT -c \"NOTIFY news, 'ä from another'\""
  for _ in $(seq 600); do
    ! grep -q Asynchronous "$work/told" || break
    echo "SELECT 'still listening';"
    sleep 0.05
  done
} | psql > "$work/told"
told='{"duty":"notify","answer":{"told":["\1","\2"]}}'
sed -n "s/^Asynchronous.* \"\(.*\)\" with payload \"\(.*\)\" received.*/$told/p" "$work/told" | head -1

# An own write is seen on another node at once.
seen=$(
  for id in $(seq 201 220); do
    echo "INSERT INTO items VALUES ($id, 'seen $id');"
    echo "\\connect - - - $OTHER_PORT"
    echo "SELECT count(*) FROM items WHERE id = $id;"
    echo "\\connect - - - $PGPORT"
  done | psql | grep -c '^1$'
)
printf '{"duty":"elsewhere","answer":{"seen":%s}}\n' "$seen"
