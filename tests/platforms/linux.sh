#!/usr/bin/env bash
# Tests for Linux on another processor, compiled by Debian's rustc-web with its std for that processor and Debian's cross
# compiler, none of them installed.
#
#   tests/platforms/linux.sh arm64     protocol, store, network, chain, and a C program against the shared library; qemu-user
#   tests/platforms/linux.sh i686      protocol; 32 bits, run as it is on x86-64
#
# Closes with `NAME: N passed, N failed, N skipped`, where NAME is qemu_arm64 or i686.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
# Not run there, each with its reason.
left_out=()
case ${1:-} in
	arm64)
		name=qemu_arm64 triple=aarch64-linux-gnu target=aarch64-unknown-linux-gnu
		packages=()
		tests=(--test protocol --test storage --test network --test chain)
		profile=simulation # Without optimisation it takes hours under emulation.
		left_out=(
			"signer::nonce_pages_are_locked_undumped_wiped_on_fork_and_gone_after_use: qemu shows no flags of pages"
			"platform::fork_guard_knows_a_child: qemu ignores MADV_WIPEONFORK"
			"poison::forged_records_of_one_peer_use_up_nothing_of_the_others: counts what a second allows; too slow there"
		)
		;;
	i686)
		name=i686 triple=i686-linux-gnu target=i686-unknown-linux-gnu
		packages=(rustc-web cargo-web libstd-rust-web-dev:i386 gcc-i686-linux-gnu libc6-dev-i386-cross)
		tests=(--no-default-features --test protocol)
		profile=dev
		left_out=("fuzzed::the_seeds_are_what_the_program_makes: a double of the tests hashes a usize, so others come out")
		;;
	*) sed -n 's/^#   //p' "$0" >&2 && exit 2 ;;
esac
root=$(tests/platforms/debian.sh "$1" "${packages[@]}")
export LD_LIBRARY_PATH=$root/usr/lib/$(uname -m)-linux-gnu
libraries=$root/usr/$triple
flags="-C link-arg=--sysroot=$root"
variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")
run=()
if [ "$1" = i686 ]; then
	flags+=" -C link-arg=-Wl,--dynamic-linker,$libraries/lib/ld-linux.so.2,-rpath,$libraries/lib"
else
	export QEMU=$root/usr/bin/qemu-${triple%%-*} QEMU_LD_PREFIX=$libraries
	run=("$PWD/tests/platforms/qemu.sh")
	export "${variable}_RUNNER=${run[0]}"
fi
loader=$(find "$libraries/lib" -name 'ld-linux*.so.*' | head -n 1)
"${run[@]}" "$loader" --version >/dev/null || {
	echo "SKIPPED $name: programs of $triple do not run here (qemu needs binfmt_misc in user namespaces: Linux 6.7)"
	exit 77
}

tool=$root/usr/bin/$triple
export RUSTC=$root/usr/bin/rustc RUSTDOC=$root/usr/bin/rustdoc CARGO_TARGET_DIR=$PWD/target/platforms
unset RUSTFLAGS CARGO_BUILD_TARGET RUSTUP_TOOLCHAIN
export "CC_${target//-/_}=$tool-gcc" "CXX_${target//-/_}=$tool-g++" "AR_${target//-/_}=$tool-ar"
export "CFLAGS_${target//-/_}=--sysroot=$root" "CXXFLAGS_${target//-/_}=--sysroot=$root"
export "${variable}_LINKER=$tool-gcc" "${variable}_RUSTFLAGS=$flags"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
skip=()
for line in "${left_out[@]}"; do
	echo "NOT RUN $line" | tee -a "$log"
	skip+=(--skip "${line%%: *}")
done
status=0
export MUSIG_REQUIRE_ALL=1 "MUSIG_VECTORS=${MUSIG_VECTORS:-$PWD/../shared/vectors}"
"$root/usr/bin/cargo" test --quiet --locked --no-fail-fast --profile "$profile" --target "$target" "${tests[@]}" \
	-- "${skip[@]}" 2>&1 | tee -a "$log" || status=1

# Every function of musig.h, against the shared library as it is linked for an installation.
program() {
	local folder=$CARGO_TARGET_DIR/$target/simulation/c
	mkdir -p "$folder"
	CC="$tool-gcc --sysroot=$root" bindings/c/link.sh "$folder/../deps/liblibmusig.a" "$folder/libmusig.so.0.1"
	ln -sf libmusig.so.0.1 "$folder/libmusig.so"
	"$tool-gcc" "--sysroot=$root" -std=c99 -pedantic -Wall -Wextra -Werror -Wno-unused-function -D_DEFAULT_SOURCE \
		-Iinclude -Itests/c tests/c/good.c -L"$folder" -lmusig -lpthread "-Wl,-rpath,$folder" -o "$folder/good"
	"${run[@]}" "$folder/good"
}
if [ "$1" = arm64 ]; then
	if (program); then
		echo "test result: ok. 1 passed; 0 failed (the C program)" | tee -a "$log"
	else
		echo "test result: FAILED. 0 passed; 1 failed (the C program)" | tee -a "$log"
		status=1
	fi
fi
count_cargo "$name" "$log" "$status"
exit "$status"
