#!/usr/bin/env bash
# Fetches Prometheus' promtool for the tests, once, and prints the folder of it and of prometheus.
#
# A promtool on PATH is taken as it is. Else Debian's package is downloaded by apt from the mirror that this machine is set
# up with, checked by apt against Debian's signatures and here by checksum, and unpacked into a folder of
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}; nothing is installed. Once the mirror has moved on to another version, that one is
# taken, by Debian's signatures alone, and it says so. Exits with 77, and says why, where there is none.
set -euo pipefail

version=2.42.0+ds-5+deb12u1
package_sha256=81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55

cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}
folder=$cache/prometheus

skip() {
	echo "no promtool: $1" >&2
	exit 77
}

if tool=$(command -v promtool); then
	dirname "$tool"
	exit 0
fi
if [ -x "$folder/usr/bin/promtool" ]; then
	echo "$folder/usr/bin"
	exit 0
fi

for tool in apt-get dpkg flock sha256sum; do
	command -v "$tool" >/dev/null || skip "none in $cache, and no $tool to fetch one with"
done
[ "$(dpkg --print-architecture)" = amd64 ] || skip "it is fetched on amd64 alone"

mkdir -p "$cache"
exec 9>"$cache/.prometheus.lock"
flock 9
if [ ! -x "$folder/usr/bin/promtool" ]; then
	scratch=$(mktemp -d "$cache/.prometheus.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	(cd "$scratch" && timeout 300 apt-get -qq download prometheus >&2) || skip "apt-get download prometheus failed"
	package=$(echo "$scratch"/prometheus_*.deb)
	case $package in
	*"_${version}_"*)
		[ "$(sha256sum "$package" | cut -d ' ' -f 1)" = "$package_sha256" ] || skip "$package has a wrong checksum"
		;;
	*) echo "promtool: $(basename "$package") is not $version, which was expected" >&2 ;;
	esac
	dpkg -x "$package" "$scratch/root"
	rm -rf "$folder"
	mv "$scratch/root" "$folder"
fi
echo "$folder/usr/bin"
