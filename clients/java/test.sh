#!/usr/bin/env bash
# Builds the Java client, tests it against the server that is built, and makes its jars: offline, with
# what `tools/setup java` fetched.
# usage: clients/java/test.sh [GOAL or option of mvn]...    (default: verify)
# environment: GP_BUILD_DIR  the build to test with, build/release by default; the jars go into java/ in it
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
    printf 'SKIPPED [1] clients/java: %s: tools/setup java\n' "$1"
    exit 0
}

command -v javac >/dev/null || skip "no JDK is there"
command -v mvn >/dev/null || skip "Maven is missing"
cmp -s clients/java/pom.xml .deps/done/java || skip "what Maven needs was not fetched"

export GP_SOURCE_DIR=${GP_SOURCE_DIR:-$PWD}
export GP_BUILD_DIR=${GP_BUILD_DIR:-$PWD/build/release}
export GP_BIN=${GP_BIN:-$GP_BUILD_DIR/bin/graphpipe}
# the JVM of Maven itself is short-lived
export MAVEN_OPTS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${MAVEN_OPTS:-}"
exec mvn -B -o -ntp -Dstyle.color=never -Dmaven.repo.local="$PWD/.deps/m2" \
    -f clients/java -Dgp.build="$GP_BUILD_DIR/java" "${@:-verify}"
