#!/usr/bin/env bash
# Builds btcd, a Bitcoin node in Go, into a folder of its own (cache.bash), once, and prints its path. Go checks what it
# downloads: btcd's modules by the checksums in its own go.sum, and btcd itself here.
set -euo pipefail
program=btcd
. "$(dirname "$0")/cache.bash"

version=v0.26.2
sum=h1:hPXzICjUZOsW2JwBLg9nHwGabc/D7pJDlna2vTB/SWI=
module=github.com/btcsuite/btcd
folder=$cache/btcd-$version

check() {
	needs go
}

make() { # folder
	local work=$1/work found
	mkdir "$work"
	export GOPATH=$work/path GOCACHE=$work/cache GOBIN=$1 GOFLAGS=-buildvcs=false
	found=$(cd "$work" && go mod download -json "$module@$version" 2>"$work/log") || {
		cat "$work/log"
		skip "$module $version cannot be downloaded"
	}
	found=$(sed -nE 's/.*"Sum": "([^"]+)".*/\1/p' <<<"$found")
	if [ "$found" != "$sum" ]; then
		echo "btcd: $module $version has the checksum $found instead of $sum"
		exit 1
	fi
	(cd "$work" && go install "$module@$version") || skip "it does not build with $(go version)"
	# Go makes what it downloads read-only.
	chmod -R u+w "$work"
	rm -rf "$work"
}

once "$folder"
echo "$folder/btcd"
