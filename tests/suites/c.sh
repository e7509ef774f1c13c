#!/usr/bin/env bash
# The C and C++ interface: the header, the symbols, programs in both languages, and the same under sanitizers.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --quiet --test ffi 2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
count_cargo c "$log" "$status"
exit "$status"
