#!/bin/sh
# Runs a TypeScript program of this project on the Node.js that npm installs (24 or later), whatever the machine has.
# Installs the dependencies first when they are missing or do not fit package-lock.json.
# Usage: sh config/tool/run.sh FILE [ARGUMENTS]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
installed="$root/node_modules/.package-lock.json"

fits() {
  [ -f "$installed" ] || return 1
  [ -n "$(find "$root/package-lock.json" -newer "$installed")" ] || return 0
  # Newer is not yet different (a fresh checkout, an npm install a moment ago): compare what they say.
  node "$root/config/tool/installed.cjs" && touch "$installed"
}

if ! fits; then
  echo "installing the dependencies (npm ci) ..." >&2
  (cd "$root" && npm ci --no-audit --no-fund --loglevel=error >&2)
  touch "$installed"
fi

node="$root/node_modules/.bin/node"
if [ ! -x "$node" ]; then
  node=$(command -v node)
  "$node" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 18) ? 0 : 1)' || {
    echo "there is no Node.js from npm for this machine, and $node is too old: 22.18 or later is needed" >&2
    exit 1
  }
fi
program=$1
shift
case "$program" in /*) ;; *) program="$root/$program" ;; esac
exec "$node" "$program" "$@"
