#!/usr/bin/env bash
# The suite bitcoin against btcd, which is built once (tests/bitcoin/fetch-btcd.sh). What btcd cannot do is skipped by name.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
if ! MUSIG_BTCD=${MUSIG_BTCD:-$(tests/bitcoin/fetch-btcd.sh)}; then
	echo "SKIPPED no btcd: see above"
	exit 77
fi
export MUSIG_BTCD
run_cargo btcd --test bitcoin
