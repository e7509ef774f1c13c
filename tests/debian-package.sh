#!/usr/bin/env bash
# Fetches a program of a Debian package for the tests, once, and prints its path.
#
# usage: debian-package.sh PACKAGE PROGRAM VERSION SHA256
#
# A program on PATH is taken as it is. Else the package is downloaded by apt from the mirror that this machine is set up with,
# checked by apt against Debian's signatures and here by checksum, and unpacked into a folder of
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}; nothing is installed. Once the mirror has moved on to another version, that one is
# taken, by Debian's signatures alone, and it says so. Exits with 77, and says why, where there is none.
set -euo pipefail

package=$1 program=$2 version=$3 sha256=$4

cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}
folder=$cache/$package

skip() {
	echo "no $program: $1" >&2
	exit 77
}

if command -v "$program"; then
	exit 0
fi
if [ ! -x "$folder/usr/bin/$program" ]; then
	for tool in apt-get dpkg flock sha256sum; do
		command -v "$tool" >/dev/null || skip "none in $cache, and no $tool to fetch one with"
	done
	[ "$(dpkg --print-architecture)" = amd64 ] || skip "it is fetched on amd64 alone"
	mkdir -p "$cache"
	exec 9>"$cache/.$package.lock"
	flock 9
fi
if [ ! -x "$folder/usr/bin/$program" ]; then
	scratch=$(mktemp -d "$cache/.$package.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	download() {
		(cd "$scratch" && timeout 300 apt-get -qq download "$package" >&2)
	}
	if ! download; then
		# The lists of packages are old, or not there.
		[ "$(id -u)" = 0 ] || skip "apt-get download $package failed"
		timeout 300 apt-get -qq update >&2 || skip "apt-get update failed"
		download || skip "apt-get download $package failed"
	fi
	file=$(echo "$scratch/${package}"_*.deb)
	case $file in
	*"_${version}_"*)
		[ "$(sha256sum "$file" | cut -d ' ' -f 1)" = "$sha256" ] || skip "$file has a wrong checksum"
		;;
	*) echo "$program: $(basename "$file") is not $version, which was expected" >&2 ;;
	esac
	dpkg -x "$file" "$scratch/root"
	rm -rf "$folder"
	mv "$scratch/root" "$folder"
fi
echo "$folder/usr/bin/$program"
