#!/usr/bin/env bash
# Against a real Bitcoin node on regtest, which is fetched once (tests/bitcoin/fetch.sh).
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
MUSIG_BITCOIND=${MUSIG_BITCOIND:-$(tests/bitcoin/fetch.sh)}
status=$?
if [ "$status" -ne 0 ]; then
	[ "$status" -eq 77 ] && echo "SKIPPED no Bitcoin node: see above"
	exit "$status"
fi
export MUSIG_BITCOIND
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --quiet --test bitcoin 2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
count_cargo bitcoin "$log" "$status"
exit "$status"
