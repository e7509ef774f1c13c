#!/usr/bin/env bash
# Runs test suites, and closes with a table of their seconds beside their budgets, and a line `test: N passed, N failed`.
# A suite is a script tests/suites/NAME.sh whose last line is `NAME: N passed, N failed[, N skipped]`. One that cannot
# run here exits with 77 and says why; with MUSIG_REQUIRE_ALL=1 that is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
. tests/suites/count.sh
mkdir -p target
# Where everything is built once, incremental compilation only takes time, and half of the folder's bytes.
[ "${MUSIG_REQUIRE_ALL:-0}" != 1 ] || export CARGO_INCREMENTAL=0
# Minutes that a suite may take on two cores after a build. One that takes longer is marked, and fails nothing.
declare -A budget=(
	[lint]=2 [rust]=10 [sim]=3 [c]=4 [python]=3 [kotlin]=3 [swift]=4 [interop]=2 [bitcoin]=7 [btcd]=7 [platforms]=5 [docs]=5
)
passed=0 failed=0 skipped=0 table="" total=0 allowed=0
for suite in "$@"; do
	script="tests/suites/$suite.sh"
	if [ ! -x "$script" ]; then
		echo "there is no suite $suite" >&2
		exit 2
	fi
	echo "== $suite"
	log="target/test-$suite.log"
	start=$(date +%s)
	"$script" 2>&1 | tee "$log"
	status=${PIPESTATUS[0]}
	seconds=$(($(date +%s) - start))
	line=$(closing "$suite" "$log")
	read -r p f s <<<"$line"
	p=${p:-0} f=${f:-0} s=${s:-0}
	result=ok
	if [ "$status" -eq 77 ] && [ "${MUSIG_REQUIRE_ALL:-0}" != 1 ]; then
		result="SKIPPED: $(grep -E '^SKIPPED' "$log" | tail -n 1 | sed 's/^SKIPPED *//')"
		s=$((s + 1))
	elif [ "$status" -ne 0 ] || [ -z "$line" ] || [ "$f" -ne 0 ] || [ "$p" -eq 0 ]; then
		result=FAILED
		[ "$f" -gt 0 ] || f=1
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	limit=$((${budget[$suite]:-0} * 60))
	total=$((total + seconds)) allowed=$((allowed + limit))
	over=""
	[ "$limit" -eq 0 ] || [ "$seconds" -le "$limit" ] || over=", over its budget"
	# For the table of make bench.
	{ grep -v "^$suite " target/test-seconds.txt 2>/dev/null; echo "$suite $seconds"; } >target/test-seconds.new
	mv target/test-seconds.new target/test-seconds.txt
	table+=$(printf '%-9s %5s s of %4s  %5s passed  %3s failed  %3s skipped  %s' \
		"$suite" "$seconds" "$limit" "$p" "$f" "$s" "$result$over")$'\n'
done
printf '\n%s' "$table"
[ $# -eq 1 ] || printf '%-9s %5s s of %4s\n' all "$total" "$allowed"
if [ "$skipped" -gt 0 ]; then
	echo "test: $passed passed, $failed failed, $skipped skipped"
else
	echo "test: $passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
