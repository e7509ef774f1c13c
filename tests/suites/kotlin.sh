#!/usr/bin/env bash
# The Kotlin package: its tests, a consumer of the built artifact, the example and the README's quick start.
exec "$(dirname "$0")/../../bindings/kotlin/test.sh"
