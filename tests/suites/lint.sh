#!/usr/bin/env bash
# Formatting, lints, documentation, spelling, dependencies, and that what the documents name exists.
exec "$(dirname "$0")/../lint.sh"
