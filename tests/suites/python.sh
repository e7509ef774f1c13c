#!/usr/bin/env bash
# The Python package, from its installed wheel.
exec "$(dirname "$0")/../../bindings/python/test.sh"
