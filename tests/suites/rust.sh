#!/usr/bin/env bash
# All Rust tests, and the demo.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# All but the C interface, which has a suite of its own.
cargo test --quiet --no-fail-fast --lib --test protocol --test storage --test network --test chain --test node \
	2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
cargo test --quiet --doc 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
# Each row of make bench once, with the smallest input: whether it runs, not how fast.
cargo test --quiet --bench table 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
# The demo checks itself, and says so by its exit status.
if make --no-print-directory demo; then
	echo "test result: ok. 1 passed; 0 failed (the demo)" >>"$log"
else
	echo "test result: FAILED. 0 passed; 1 failed (the demo)" >>"$log"
	status=1
fi
# The same at a terminal, drawn again and again.
watched=$(mktemp)
if command -v script >/dev/null && script -qec "true" /dev/null >/dev/null 2>&1; then
	if script -qec "make --no-print-directory demo ARGS=--watch" /dev/null >"$watched" </dev/null &&
		grep -q $'\x1b\\[7A' "$watched" && grep -q '"ok":true' "$watched"; then
		echo "test result: ok. 1 passed; 0 failed (the demo, watched)" >>"$log"
	else
		tail -n 20 "$watched"
		echo "test result: FAILED. 0 passed; 1 failed (the demo, watched)" >>"$log"
		status=1
	fi
fi
rm -f "$watched"
count_cargo rust "$log" "$status"
exit "$status"
