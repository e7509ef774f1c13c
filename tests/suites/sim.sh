#!/usr/bin/env bash
# The simulator: a fixed set of seeds, 30 s of fresh ones, a few with the real cryptography, and that a seed decides
# everything. A failing seed says how to run it again. With SIM_FULL=1 (make test-full) more of all, and every mutation.
set -uo pipefail
cd "$(dirname "$0")/../.."
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --quiet --profile simulation --no-default-features --features mutations --test simulation --no-run || {
	echo "sim: 0 passed, 1 failed"
	exit 1
}
run() { # variables
	env "$@" cargo test --quiet --profile simulation --no-default-features --features mutations --test simulation 2>&1 |
		tee "$log"
	return "${PIPESTATUS[0]}"
}
simulate() { # variables; counts the seeds that ran
	if run "$@" && grep -q '"violations":0,' "$log"; then
		passed=$((passed + $(sed -nE 's/^\{"seeds":([0-9]+),.*/\1/p' "$log" | tail -n 1)))
	else
		failed=$((failed + 1))
	fi
}
digest() { sed -nE 's/.*digest ([0-9a-f]{16}).*/\1/p' "$log" | tail -n 1; }

fixed=400 fresh=30 real=20
[ "${SIM_FULL:-0}" -eq 0 ] || fixed=2000 fresh=600 real=200
simulate SEED=1 SEEDS=$fixed
simulate SEED="$(date +%s)000" SEEDS=1000000000 SECONDS_LIMIT=$fresh
simulate SEED=1 SEEDS=$real REAL=1
# The same seeds give the same runs, however many threads there are.
simulate SEED=1 SEEDS=40 THREADS=1
one=$(digest)
simulate SEED=1 SEEDS=40 THREADS=2
if [ -n "$one" ] && [ "$one" = "$(digest)" ]; then
	passed=$((passed + 1))
else
	echo "the same seeds gave different runs"
	failed=$((failed + 1))
fi
# The formula of V1, for a few of the cases of `make sim-report`.
if run REPORT=check; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
fi
if [ "${SIM_FULL:-0}" -ne 0 ]; then
	if run MUTATIONS=1; then
		passed=$((passed + $(grep -cE '^\| [A-Z][A-Za-z]+ \| [SV][0-9]+ \| [0-9]+ \|' "$log")))
	else
		failed=$((failed + 1))
	fi
	# Of what strangers may do, whom the simulator does not have.
	if cargo test --quiet --profile simulation --no-default-features --features mutations --test protocol \
		mutations_are_found; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
fi
echo "sim: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
