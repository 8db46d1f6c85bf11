#!/usr/bin/env bash
# Measures the Java client's round trips through the echo engine, next to java.net.http and to prepared bytes
# over a socket (src/jmh). Needs `make` and `tools/setup java`. About three minutes.
# usage: clients/java/bench.sh [OPTION of JMH]...
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${GP_BUILD_DIR:-$PWD/build/release}
program=${GP_BIN:-$build/bin/graphpipe}
server=
log=$(mktemp)
trap '[ -z "$server" ] || kill "$server"; rm "$log"' EXIT

clients/java/test.sh -q -Pbench test-compile
"$program" serve --engine echo --listen 127.0.0.1:0 2>"$log" &
server=$!
for _ in $(seq 100); do
    url=$(sed -n 's|.*listening on \(http://[^ ]*\).*|\1|p' "$log")
    [ -z "$url" ] || break
    sleep 0.1
done
[ -n "$url" ] || { cat "$log" >&2; exit 1; }
jars=$(printf '%s:' .deps/m2/org/openjdk/jmh/jmh-core/*/*.jar \
    .deps/m2/net/sf/jopt-simple/jopt-simple/*/*.jar .deps/m2/org/apache/commons/commons-math3/*/*.jar)
java -Dgp.url="$url" -cp "$build/java/test-classes:$build/java/classes:$jars" \
    org.openjdk.jmh.Main "$@"
