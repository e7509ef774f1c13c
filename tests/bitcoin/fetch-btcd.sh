#!/usr/bin/env bash
# Builds btcd, a Bitcoin node in Go, into a folder of its own under ${LIBMUSIG_CACHE:-~/.cache/libmusig}, once, and prints its
# path. Go checks what it downloads: btcd's modules by the checksums in its own go.sum, and btcd itself here. Exits with 77,
# and says why, where that cannot be.
set -euo pipefail

version=v0.26.2
sum=h1:hPXzICjUZOsW2JwBLg9nHwGabc/D7pJDlna2vTB/SWI=
module=github.com/btcsuite/btcd

cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}
folder=$cache/btcd-$version

skip() {
	echo "SKIPPED btcd: $1" >&2
	exit 77
}

if [ -x "$folder/btcd" ]; then
	echo "$folder/btcd"
	exit 0
fi
command -v flock >/dev/null || skip "no node in $cache, and no flock to fetch one with"
command -v go >/dev/null || skip "no node in $cache, and no Go to build one with"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -x "$folder/btcd" ]; then
	work=$(mktemp -d "$cache/.fetch.XXXXXX")
	# Go makes what it downloads read-only.
	trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
	export GOPATH=$work/path GOCACHE=$work/cache GOBIN=$work/bin GOFLAGS=-buildvcs=false
	found=$(cd "$work" && go mod download -json "$module@$version" 2>"$work/log") || {
		cat "$work/log" >&2
		skip "$module $version cannot be downloaded"
	}
	found=$(sed -nE 's/.*"Sum": "([^"]+)".*/\1/p' <<<"$found")
	if [ "$found" != "$sum" ]; then
		echo "btcd: $module $version has the checksum $found instead of $sum" >&2
		exit 1
	fi
	(cd "$work" && go install "$module@$version") >&2 || skip "it does not build with $(go version)"
	mkdir -p "$folder"
	mv "$work/bin/btcd" "$folder/btcd"
fi
echo "$folder/btcd"
