#!/usr/bin/env bash
# Type-checks the library for a target whose standard library, linker and C compiler are not here: the default features
# and `uniffi`, warnings are errors. It says that the code is right for that system, not that it runs there.
#
#   tests/platforms/check.sh TARGET…            check.sh aarch64-apple-ios aarch64-linux-android
#
# Debian's rustc-web with rust-web-src of the same version makes the metadata of std for each target once, and keeps it
# below ${LIBMUSIG_CACHE:-~/.cache/libmusig}. All targets share one target directory, target/platforms.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/platforms
root=$("$here/debian.sh" rust)
export LD_LIBRARY_PATH=$root/usr/lib/$(uname -m)-linux-gnu
export RUSTC=$root/usr/bin/rustc RUSTDOC=$root/usr/bin/rustdoc
unset RUSTFLAGS CARGO_BUILD_TARGET RUSTUP_TOOLCHAIN
cargo=$root/usr/bin/cargo
version=$("$RUSTC" -vV | sed -n 's/^release: //p')
host=$("$RUSTC" -vV | sed -n 's/^host: //p')
cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}/std-$version
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

# Makes the metadata of std for a target: all that a check reads of it.
metadata() { # target
	local folder=$cache/$1 work=$cache/.work
	[ ! -e "$folder/.done" ] || return 0
	rm -rf "$folder"
	mkdir -p "$work" "$folder/lib/rustlib/$1/lib"
	if [ ! -e "$work/library/Cargo.toml" ]; then
		cp -rL "$root/usr/src/rustc-$version/library" "$work/"
	fi
	(
		cd "$work/library"
		RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zforce-unstable-if-unmarked __CARGO_DEFAULT_LIB_METADATA=stablestd \
			"$cargo" check --quiet -p sysroot --features panic-unwind --target "$1" --target-dir "$work/target"
	) || return 1
	cp "$work/target/$1"/debug/deps/*.rmeta "$folder/lib/rustlib/$1/lib/"
	ln -s "$root/usr/lib/rustlib/$host" "$folder/lib/rustlib/$host"
	touch "$folder/.done"
}

# A C compiler that makes empty files: nothing is linked. Crates ask it with -E which compiler it is.
tools=$PWD/target/platforms/tools
mkdir -p "$tools/sdk"
cat >"$tools/empty-cc" <<'SCRIPT'
#!/bin/sh
output=
for argument; do
	case $argument in -E) echo clang ;; esac
	[ "$previous" != -o ] || output=$argument
	case $argument in -o?*) output=${argument#-o} ;; esac
	previous=$argument
done
[ -z "$output" ] || : >"$output"
SCRIPT
cat >"$tools/empty-ar" <<'SCRIPT'
#!/bin/sh
for argument; do
	case $argument in *.a) : >"$argument" ;; esac
done
SCRIPT
cat >"$tools/xcrun" <<'SCRIPT'
#!/bin/sh
echo "$SDKROOT"
SCRIPT
chmod +x "$tools/empty-cc" "$tools/empty-ar" "$tools/xcrun"
export PATH=$tools:$PATH SDKROOT=$tools/sdk CARGO_TARGET_DIR=$PWD/target/platforms

for target in "$@"; do
	metadata "$target" || {
		echo "no metadata of std for $target"
		exit 1
	}
done
for target in "$@"; do
	lower=${target//-/_}
	upper=${lower^^}
	env "CARGO_TARGET_${upper}_RUSTFLAGS=--sysroot $cache/$target -D warnings" "CC_$lower=$tools/empty-cc" "AR_$lower=$tools/empty-ar" \
		"$cargo" check --quiet --locked --lib --target "$target" --features uniffi
	echo "checked for $target"
done
