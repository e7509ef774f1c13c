#!/usr/bin/env bash
# Linker of the wheels, and C compiler of those for another machine: zig's, against the glibc of ZIG_TARGET
# (x86_64-linux-gnu.2.17), which is older than this machine's.
# PYTHON has the package ziglang.
set -euo pipefail
arguments=()
for argument; do
	case $argument in
	# zig brings LLVM's unwinder, and is its own linker.
	-lgcc_s) arguments+=(-lunwind) ;;
	-fuse-ld=* | --target=* | -B* | -Wl,--no-undefined-version) ;;
	# It would strip all names, of which the generators need some. dist.sh strips when they are done.
	-Wl,--strip-debug) ;;
	# It does not know this. What it hides is left out of rustc's list of exported names instead.
	-Wl,--exclude-libs,*) ;;
	-Wl,--version-script=*)
		sed -i '/rustsecp256k1/d' "${argument#*=}"
		arguments+=("$argument")
		;;
	*) arguments+=("$argument") ;;
	esac
done
exec "$PYTHON" -m ziglang cc -target "$ZIG_TARGET" "${arguments[@]}"
