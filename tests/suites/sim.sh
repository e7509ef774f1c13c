#!/usr/bin/env bash
# The simulator: a fixed set of seeds, and FRESH_SEEDS fresh ones (make test-full). A failing seed says how to run it
# again.
set -uo pipefail
cd "$(dirname "$0")/../.."
passed=0 failed=0
simulate() { # first seed, how many
	local log
	log=$(mktemp)
	SEED=$1 SEEDS=$2 cargo test --quiet --profile simulation --no-default-features --test simulation 2>&1 | tee "$log"
	if [ "${PIPESTATUS[0]}" -eq 0 ] && grep -q '"violations":0,' "$log"; then
		passed=$((passed + $2))
	else
		failed=$((failed + 1))
	fi
	rm -f "$log"
}
simulate 1 "${FIXED_SEEDS:-2000}"
# The formula of V1, for a few of the cases of `make sim-report`.
if REPORT=check cargo test --quiet --profile simulation --no-default-features --test simulation; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
fi
[ "${FRESH_SEEDS:-0}" -eq 0 ] || simulate "$(date +%s)000" "$FRESH_SEEDS"
echo "sim: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
