#!/bin/sh
# The command of the npm package: dist/main.js on the Node.js that npm has installed beside it, else on that of the machine.
# Rule: becomes that process, so that a signal to the command is one to the gateway. Knows nothing of what the program does.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")

# PROGRAM is a Node.js that runs here and is new enough.
fits() {
  version=$("$1" --version 2>/dev/null) || return 1
  rest=${version#v}
  major=${rest%%.*}
  rest=${rest#*.}
  minor=${rest%%.*}
  case "$major.$minor" in .* | *. | *[!0-9.]*) return 1 ;; esac
  [ "$major" -gt 22 ] || { [ "$major" -eq 22 ] && [ "$minor" -ge 18 ]; }
}

case "$(uname -m)" in
  x86_64 | amd64) processor=x64 ;;
  aarch64 | arm64) processor=arm64 ;;
  *) processor=$(uname -m) ;;
esac
package="node-$(uname -s | tr '[:upper:]' '[:lower:]')-$processor"

# Where npm, pnpm and yarn put an optional dependency: beside this package or further up.
folder=$here
while [ "$folder" != / ]; do
  folder=$(dirname -- "$folder")
  node="$folder/node_modules/$package/bin/node"
  if [ -x "$node" ] && fits "$node"; then exec "$node" "$here/main.js" "$@"; fi
done
if fits node; then exec node "$here/main.js" "$@"; fi

found=$(command -v node) && found="$found is $(node --version 2>&1 | head -n 1)" || found='there is none'
echo "mtm-gateway: Node.js 22.18 or later is needed; $found" >&2
echo "  what to do: install Node.js 24; on Linux (x64, arm64) npm install without --omit=optional brings one along" >&2
exit 1
