#!/usr/bin/env bash
# Fetch QuestDB for the tests of its store, into the cache folder where they look for it. Done once per version.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qmtl-tests
version=${1:-9.3.4}
jar=$cache/questdb-$version.jar
[ -s "$jar" ] && exit 0
command -v mvn > /dev/null || { echo "QuestDB $version is fetched by Maven (mvn), which is not installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mvn -q -B dependency:copy -Dartifact="org.questdb:questdb:$version" -DoutputDirectory="$work" > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
mkdir -p "$cache"
mv "$work/questdb-$version.jar" "$jar"
