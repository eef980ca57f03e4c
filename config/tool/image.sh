#!/bin/sh
# Gathers what the image needs of the system it is built on: node and env, the libraries that they load, certificates, a user.
# Usage: sh image.sh FOLDER
set -eu
root=$1
mkdir -p "$root/usr/local/bin" "$root/usr/bin" "$root/etc/ssl/certs" "$root/tmp" "$root/app"
chmod 1777 "$root/tmp"

node=$(command -v node)
cp "$node" "$root/usr/local/bin/node"
cp /usr/bin/env "$root/usr/bin/env" # for `#!/usr/bin/env node`: docker exec … mtm-gateway status
ln -s /app/dist/main.js "$root/usr/local/bin/mtm-gateway"
for library in $(ldd "$node" /usr/bin/env | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u); do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
# What libc looks for by name when it resolves hosts and users.
for file in /etc/nsswitch.conf /etc/ssl/certs/ca-certificates.crt /usr/share/doc/libc6/copyright; do
  if [ -e "$file" ]; then
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
  fi
done
printf 'root:x:0:0:root:/:/nologin\nnode:x:1000:1000:node:/app:/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnode:x:1000:\n' >"$root/etc/group"
