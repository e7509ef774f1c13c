#!/usr/bin/env bash
# The binary interface of C against that of the last fixture (tests/fixtures/VERSION/musig.abi), by abidiff of libabigail:
# as long as MUSIG_ABI_VERSION is the same, functions and members may only be added. It also breaks a copy of the header in
# four ways and demands that each is found, so its silence means something.
#
#   tests/abi/abidiff.sh            compare
#   tests/abi/abidiff.sh --write F  write the description of the present header to F
set -euo pipefail
cd "$(dirname "$0")/../.."
if command -v abidw >/dev/null && command -v abidiff >/dev/null; then
	abidw=(abidw) abidiff=(abidiff)
else
	# Debian's package abigail-tools.
	root=$(tests/platforms/debian.sh abigail abigail-tools)/usr
	libraries=(env "LD_LIBRARY_PATH=$root/lib/$(uname -m)-linux-gnu")
	abidw=("${libraries[@]}" "$root/bin/abidw") abidiff=("${libraries[@]}" "$root/bin/abidiff")
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

describe() { # header, output
	cp "$1" "$work/musig.h"
	(cd "$work" && python3 "$OLDPWD/tests/abi/describe.py" musig.h >musig.c &&
		${CC:-cc} -g -w -shared -fPIC -Wl,-soname,libmusig.so.0.1 musig.c -o libmusig.so)
	"${abidw[@]}" --no-corpus-path --no-comp-dir-path --no-show-locs "$work/libmusig.so" >"$2"
}
compare() { # from, to: 0 if programs that were compiled for the one work with the other
	"${abidiff[@]}" --no-added-syms --suppressions tests/abi/grows.ini "$1" "$2"
}
if [ "${1:-}" = --write ]; then
	describe include/musig.h "$2"
	exit
fi

now=$work/now.abi
describe include/musig.h "$now"
compare "$now" "$now" >"$work/report" || {
	cat "$work/report"
	echo "the interface differs from itself"
	exit 1
}
broken() { # what, script of sed
	sed -E "$2" include/musig.h >"$work/broken.h"
	! cmp -s include/musig.h "$work/broken.h" || {
		echo "the header has nothing to break: $1"
		exit 1
	}
	describe "$work/broken.h" "$work/broken.abi"
	if compare "$now" "$work/broken.abi" >"$work/report"; then
		echo "not found: $1"
		exit 1
	fi
}
broken "a function that is gone" 's/^uint32_t musig_abi_version\(void\);//'
broken "a parameter of another size" 's/int64_t timeout,/int32_t timeout,/'
broken "a member before others" 's/^  uint64_t frames_sent;/  uint64_t first; uint64_t frames_sent;/'
broken "a status with another number" 's/(MUSIG_STATUS_NO_EVENT) = 14/\1 = 19/'
# And what may be added is not.
sed -E 's/^(uint32_t musig_abi_version\(void\);)/\1\nuint32_t musig_abi_more(void);/; s/^\} musig_metrics;/uint64_t more; } musig_metrics;/
	s/^  MUSIG_STATUS_NO_EVENT = 14,/&\n MUSIG_STATUS_MORE = 99,/' \
	include/musig.h >"$work/grown.h"
describe "$work/grown.h" "$work/grown.abi"
compare "$now" "$work/grown.abi" >"$work/report" || {
	cat "$work/report"
	echo "what may be added is refused"
	exit 1
}

last=$(find tests/fixtures -mindepth 2 -name musig.abi 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$last" ]; then
	echo "abidiff: there is no fixture yet; the comparison itself works"
	exit 0
fi
version() { sed -n 's/^#define MUSIG_ABI_VERSION //p' "$1"; }
if [ "$(version include/musig.h)" != "$(version "$(dirname "$last")/musig.h")" ]; then
	echo "abidiff: MUSIG_ABI_VERSION is another one than in $last"
	exit 0
fi
compare "$last" "$now" || {
	echo "programs that were compiled for $last would break: increase MUSIG_ABI_VERSION and the SONAME, or undo this"
	exit 1
}
