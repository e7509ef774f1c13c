# For the suites: sums up the closing lines of cargo's test binaries in a log. A test that cannot run here passes, and
# says `SKIPPED name: why`.
count_cargo() { # name log status
	awk -v name="$1" -v status="$3" '
		/^test result:/ { for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i } }
		/^SKIPPED / { s++ }
		END {
			if (status != 0 && f == 0) f = 1
			printf "%s: %d passed, %d failed", name, p - s, f
			if (s > 0) printf ", %d skipped", s
			printf "\n"
		}' "$2"
}
