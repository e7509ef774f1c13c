#!/usr/bin/env bash
# Against a real Bitcoin node on regtest, which is fetched once: Bitcoin Knots (tests/bitcoin/fetch.sh), or btcd where that
# cannot be had (tests/bitcoin/fetch-btcd.sh).
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
MUSIG_BITCOIND=${MUSIG_BITCOIND:-$(tests/bitcoin/fetch.sh)}
status=$?
if [ "$status" -eq 0 ]; then
	export MUSIG_BITCOIND
elif [ "$status" -ne 77 ]; then
	exit "$status"
elif MUSIG_BTCD=$(tests/bitcoin/fetch-btcd.sh); then
	echo "bitcoin: there is no Bitcoin Knots, see above; btcd takes its place"
	export MUSIG_BTCD
else
	echo "SKIPPED no Bitcoin node: see above"
	exit 77
fi
run_cargo bitcoin --test bitcoin
