#!/usr/bin/env bash
# The size of what is shipped, stripped: the shared library of C as it is installed, smaller sets of features, and the
# library for phones. Each is linked with full optimisation: many minutes.
#
# The ready-made backends (feature http) may add 1.8 MB at most: more fails.
#
# usage: size.sh [NAME]...   all sets, or those that are named
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

report() { # name, library
	strip --strip-unneeded "$2"
	printf '%-20s %6.1f MB\n' "$1" "$(stat -c %s "$2" | awk '{print $1 / 1e6}')"
}

library_of_c() { # name, then cargo's feature flags
	local name=$1 library=$target/size-$1.so
	shift
	cargo rustc --quiet --lib --release --crate-type staticlib "$@"
	bindings/c/link.sh "$target/release/liblibmusig.a" "$library"
	report "$name" "$library"
}

# What Kotlin and Swift load, as their packages build it: the interface of UniFFI beside C's.
library_of_phones() { # name, then cargo's feature flags
	local name=$1 library=$target/size-$1.so
	shift
	cargo rustc --quiet --lib --release --crate-type cdylib "$@"
	cp "$target/release/liblibmusig.so" "$library"
	report "$name" "$library"
}

[ $# -gt 0 ] || set -- default without-bitcoin without-discovery without-nat without-http capi mobile mobile-without-http
for name in "$@"; do
	case $name in
		default) library_of_c default ;;
		without-bitcoin) library_of_c "$name" --no-default-features --features capi,discovery,nat ;;
		without-discovery) library_of_c "$name" --no-default-features --features capi,nat,http ;;
		without-nat) library_of_c "$name" --no-default-features --features capi,discovery,http ;;
		without-http) library_of_c "$name" --no-default-features --features capi,discovery,nat,bitcoin ;;
		capi) library_of_c "$name" --no-default-features --features capi ;;
		mobile) library_of_phones "$name" --features uniffi ;;
		mobile-without-http)
			library_of_phones "$name" --no-default-features --features node,discovery,nat,bitcoin,uniffi
			;;
		*) echo "unknown: $name" >&2 && exit 2 ;;
	esac
done

# What the ready-made backends add, where both were measured.
both=("$target/size-default.so" "$target/size-without-http.so")
if [[ " $* " == *" default "* && " $* " == *" without-http "* ]]; then
	added=$(($(stat -c %s "${both[0]}") - $(stat -c %s "${both[1]}")))
	printf '%-20s %6.1f MB, at most 1.8\n' http "$(awk "BEGIN { print $added / 1e6 }")"
	[ "$added" -le 1800000 ]
fi
