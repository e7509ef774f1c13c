#!/usr/bin/env bash
# Formatting, lints, documentation, spelling, names, dependencies. None of it needs a tool to be compiled.
# Closes with `lint: N passed, N failed[, N skipped]`.
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
check() { # name command…
	local name=$1 status=0
	shift
	"$@" || status=$?
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
	elif [ "$status" -eq 77 ] && [ "${MUSIG_REQUIRE_ALL:-0}" != 1 ]; then
		skipped=$((skipped + 1))
	else
		echo "FAILED $name"
		failed=$((failed + 1))
	fi
}
script() { # name: a check in Python; its module tomllib came with Python 3.11
	if ! python3 -c "import tomllib" 2>/dev/null; then
		echo "SKIPPED $1: no Python 3.11"
		return 77
	fi
	python3 "tests/lint/$1.py"
}
check format cargo fmt --all --check
check names_are_ours tests/lint/names.sh
check spelling tests/lint/spelling.sh
check dependencies script dependencies
check crate script crate
check layers script layers
check sentences script sentences
check errors script errors
check documents script documents
check clippy cargo clippy --quiet --all-targets -- -D warnings
check rustdoc env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
# Arrows point down only: the protocol stands alone.
check "the protocol alone" cargo check --quiet --no-default-features
# What is left out is missed by nobody else.
for features in node bitcoin node,bitcoin discovery nat http uniffi; do
	check "only $features" cargo check --quiet --no-default-features --features "$features"
done
if [ "$skipped" -gt 0 ]; then
	echo "lint: $passed passed, $failed failed, $skipped skipped"
else
	echo "lint: $passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
