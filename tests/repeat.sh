#!/usr/bin/env bash
# Runs tests that live from timing, crashes and other processes many times in a row: COUNT (default 20) times the tests
# of the node that start processes, and once everything of the node with one worker thread.
set -euo pipefail
cd "$(dirname "$0")/.."
count=${COUNT:-20}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
	if ! cargo test --quiet --test node -- "$@" >"$log" 2>&1; then
		cat "$log"
		return 1
	fi
	grep -E '^test result' "$log"
}
echo "== with one worker thread"
LIBMUSIG_TEST_WORKERS=1 run
for round in $(seq "$count"); do
	echo "== $round of $count"
	run failover_processes recovery disk links attack
done
