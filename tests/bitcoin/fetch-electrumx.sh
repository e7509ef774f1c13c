#!/usr/bin/env bash
# Puts a real Electrum server (ElectrumX, the Python package e-x) into a folder of its own (cache.bash), once, and prints
# its path.
set -euo pipefail
program=electrumx
. "$(dirname "$0")/cache.bash"

# 2.0 refuses nodes below Bitcoin Core 31.
version=1.18.0
plyvel=1.5.1
folder=$cache/electrumx-$version

check() {
	needs_python
}

make() { # folder
	{ python3 -m venv "$1" && "$1/bin/pip" install --quiet "e-x==$version" "plyvel==$plyvel"; } ||
		skip "the packages e-x $version and plyvel $plyvel cannot be installed"
}

once "$folder"
echo "$folder/bin/electrumx_server"
