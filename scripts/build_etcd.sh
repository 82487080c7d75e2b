#!/usr/bin/env bash
# Build etcd and etcdutl for the tests of the coordinator, into the cache folder where they look for them.
# Done once per version.
set -euo pipefail
PATH=$PATH:/usr/local/go/bin  # where go's own archive puts it
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qmtl-tests
for version in "${@:-3.7.3}"; do
    [ -x "$cache/etcd-$version" ] && [ -x "$cache/etcdutl-$version" ] && continue
    command -v go > /dev/null || { echo "etcd $version is built with go, which is not installed" >&2; exit 1; }
    work=$(mktemp -d)
    (
        cd "$work"
        go mod init etcd.build
        go get "go.etcd.io/etcd/server/v3@v$version" "go.etcd.io/etcd/etcdutl/v3@v$version"
        go build -o etcd go.etcd.io/etcd/server/v3
        go build -o etcdutl go.etcd.io/etcd/etcdutl/v3
    ) > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    mkdir -p "$cache"
    mv "$work/etcd" "$cache/etcd-$version"
    mv "$work/etcdutl" "$cache/etcdutl-$version"
    rm -rf "$work"
done
