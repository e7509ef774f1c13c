#!/usr/bin/env bash
# The C and C++ interface: the header, the symbols, programs in both languages, an installation; then the same programs
# under AddressSanitizer, LeakSanitizer, UBSan and valgrind.
set -uo pipefail
cd "$(dirname "$0")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --quiet --test ffi 2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
tests/c/sanitize.sh address undefined valgrind 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
awk -v status="$status" '
	/^test result:/ || /^sanitize: / {
		for (i = 1; i < NF; i++) {
			if ($(i+1) ~ /^passed/) p += $i
			if ($(i+1) ~ /^failed/) f += $i
			if ($(i+1) ~ /^skipped/) s += $i
		}
	}
	END {
		if (status != 0 && f == 0) f = 1
		printf "c: %d passed, %d failed", p, f
		if (s > 0) printf ", %d skipped", s
		print ""
	}' "$log"
exit "$status"
