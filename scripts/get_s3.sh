#!/usr/bin/env bash
# Fetch two S3 servers for the tests of snapshots, into the cache folder where they look for them: S3Proxy, a jar, by
# Maven, and moto, which gets an environment of its own. Done once per version.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qmtl-tests
s3proxy=${1:-4.1.0}
moto=${2:-5.2.2}
python=${PYTHON:-python3}
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

jar=$cache/s3proxy-$s3proxy.jar
if [ ! -s "$jar" ]; then
    command -v mvn > /dev/null || { echo "S3Proxy $s3proxy is fetched by Maven (mvn), which is not installed" >&2; exit 1; }
    mvn -q -B dependency:copy -Dartifact="org.gaul:s3proxy:$s3proxy:jar:jar-with-dependencies" \
        -DoutputDirectory="$work" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    mv "$work/s3proxy-$s3proxy-jar-with-dependencies.jar" "$jar"
fi

home=$cache/moto-$moto
if [ ! -e "$home/.ready" ]; then
    rm -rf "$home"
    "$python" -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check "moto[server]==$moto"
    touch "$home/.ready"
fi
