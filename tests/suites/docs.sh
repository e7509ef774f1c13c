#!/usr/bin/env bash
# `docs_site`: the documentation is made, and every link in it leads somewhere. DOCS_READY=1 takes target/docs as it is.
# Closes with `docs: N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.."
status=0
[ "${DOCS_READY:-0}" = 1 ] || docs/site/make.sh || status=$?
if [ "$status" -eq 77 ] && [ "${MUSIG_REQUIRE_ALL:-0}" != 1 ]; then
	echo "SKIPPED docs: a tool cannot be had here"
	exit 77
fi
if [ "$status" -eq 0 ] && python3 docs/site/site.py --check "${CARGO_TARGET_DIR:-target}/docs"; then
	echo "ok docs_site"
	echo "docs: 1 passed, 0 failed"
else
	echo "FAILED docs_site"
	echo "docs: 0 passed, 1 failed"
	exit 1
fi
