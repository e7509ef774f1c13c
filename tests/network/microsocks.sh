#!/usr/bin/env bash
# Fetches the SOCKS 5 proxy microsocks for the tests, once, and prints its path.
#
# One on PATH is taken as it is. Else Debian's package is downloaded by apt from the mirror that this machine is set up with,
# checked by apt against Debian's signatures and here by checksum, and unpacked into a folder of
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}; nothing is installed. Where the mirror has another version, that one is taken, by
# Debian's signatures alone, and it says so. Exits with 77, and says why, where there is none.
set -euo pipefail

version=1.0.3-2
package_sha256=9aa6f6683bbb4bceb36f95148490717e8633a7220d4e5cc7deceb90024f05a3e

cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}
folder=$cache/microsocks

skip() {
	echo "no microsocks: $1" >&2
	exit 77
}

if command -v microsocks; then
	exit 0
fi
if [ ! -x "$folder/usr/bin/microsocks" ]; then
	for tool in apt-get dpkg flock sha256sum; do
		command -v "$tool" >/dev/null || skip "none in $cache, and no $tool to fetch one with"
	done
	[ "$(dpkg --print-architecture)" = amd64 ] || skip "it is fetched on amd64 alone"
	mkdir -p "$cache"
	exec 9>"$cache/.microsocks.lock"
	flock 9
fi
if [ ! -x "$folder/usr/bin/microsocks" ]; then
	scratch=$(mktemp -d "$cache/.microsocks.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	download() {
		(cd "$scratch" && timeout 120 apt-get -qq download microsocks >&2)
	}
	if ! download; then
		# The lists of packages are old, or not there.
		[ "$(id -u)" = 0 ] || skip "apt-get download microsocks failed"
		timeout 300 apt-get -qq update >&2 || skip "apt-get update failed"
		download || skip "apt-get download microsocks failed"
	fi
	package=$(echo "$scratch"/microsocks_*.deb)
	case $package in
	*"_${version}_"*)
		[ "$(sha256sum "$package" | cut -d ' ' -f 1)" = "$package_sha256" ] || skip "$package has a wrong checksum"
		;;
	*) echo "microsocks: $(basename "$package") is not $version, which was expected" >&2 ;;
	esac
	dpkg -x "$package" "$scratch/root"
	rm -rf "$folder"
	mv "$scratch/root" "$folder"
fi
echo "$folder/usr/bin/microsocks"
