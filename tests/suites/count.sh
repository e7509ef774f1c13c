# For the suites: sums up the closing lines of cargo's test binaries in a log.
count_cargo() { # name log status
	awk -v name="$1" -v status="$3" '
		/^test result:/ { for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i } }
		END {
			if (status != 0 && f == 0) f = 1
			printf "%s: %d passed, %d failed\n", name, p, f
		}' "$2"
}
