#!/usr/bin/env bash
# The Swift package, its example and its quick start.
exec "$(dirname "$0")/../../bindings/swift/test.sh"
