# For the suites: sums up the closing lines of cargo's test binaries in a log. A test that cannot run here passes, and
# says `SKIPPED name: why`; one that was not started stands in the log as `NOT RUN name: why`.

# The closing line of a suite in its log, as three numbers: passed, failed, skipped.
closing() { # name log
	sed -nE "s/^$1: ([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p" "$2" | tail -n 1
}

run_cargo() { # name, arguments of cargo test
	local name=$1 log status=0
	shift
	log=$(mktemp)
	cargo test --quiet "$@" 2>&1 | tee "$log"
	[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
	count_cargo "$name" "$log" "$status"
	rm -f "$log"
	return "$status"
}
count_cargo() { # name log status
	awk -v name="$1" -v status="$3" '
		/^test result:/ { for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i } }
		/^SKIPPED / { s++ }
		/^NOT RUN / { left++ }
		END {
			if (status != 0 && f == 0) f = 1
			printf "%s: %d passed, %d failed", name, p - s, f
			if (s + left > 0) printf ", %d skipped", s + left
			printf "\n"
		}' "$2"
}
