#!/usr/bin/env bash
# Puts a real Electrum server (ElectrumX, the Python package e-x) into a folder of its own under
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}, once, and prints its path. Exits with 77, and says why, where that cannot be.
set -euo pipefail

# 2.0 refuses nodes below Bitcoin Core 31.
version=1.18.0
plyvel=1.5.1

cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}
folder=$cache/electrumx-$version
server=$folder/bin/electrumx_server

skip() {
	echo "SKIPPED electrumx: $1" >&2
	exit 77
}

if [ -f "$folder/complete" ]; then
	echo "$server"
	exit 0
fi
command -v flock >/dev/null || skip "no server in $cache, and no flock to fetch one with"
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
	skip "no server in $cache, and no Python 3.10 with venv and pip to fetch one with"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -f "$folder/complete" ]; then
	rm -rf "$folder"
	if ! { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "e-x==$version" "plyvel==$plyvel"; } >&2; then
		rm -rf "$folder"
		skip "the packages e-x $version and plyvel $plyvel cannot be installed"
	fi
	touch "$folder/complete"
fi
echo "$server"
