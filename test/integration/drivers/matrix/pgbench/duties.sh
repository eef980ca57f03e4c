#!/bin/sh
# pgbench in each protocol: two clients, each 20 transactions with \gset, pipelines, and a row that both want. One line
# of JSON for each.
set -eu
here=$(dirname "$0")
# Debian keeps that of a newer server off the PATH.
pgbench=$(command -v pgbench || ls /usr/lib/postgresql/*/bin/pgbench | tail -1)
for protocol in simple extended prepared; do
  script=$here/transaction.sql
  [ "$protocol" = simple ] || script=$here/pipeline.sql
  said=$("$pgbench" -n -M "$protocol" -c 2 -j 2 -t 20 --max-tries 1000 -f "$script" 2>&1) || {
    echo "$said" >&2
    exit 1
  }
  printf '{"duty":"%s","answer":{"processed":"%s","failed":"%s"}}\n' "$protocol" \
    "$(echo "$said" | sed -n 's/^number of transactions actually processed: //p')" \
    "$(echo "$said" | sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p')"
done
