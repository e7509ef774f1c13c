#!/usr/bin/env bash
# Puts other people's signers, btclib-wallet (Python) and @scure/btc-signer (npm), into a folder of its own under
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}, once, by version and checksum, and prints its path. Exits with 77, and says why,
# where that cannot be.
set -euo pipefail

from=$(cd "$(dirname "$0")/others" && pwd)
cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}
# Other versions are another folder.
folder=$cache/signers-$(cat "$from/requirements.txt" "$from/package-lock.json" | cksum | cut -d' ' -f1)

skip() {
	echo "SKIPPED other signers: $1" >&2
	exit 77
}

if [ ! -f "$folder/complete" ]; then
	command -v flock >/dev/null || skip "none in $cache, and no flock to fetch them with"
	command -v npm >/dev/null || skip "none in $cache, and no npm to fetch them with"
	node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null ||
		skip "none in $cache, and no Node.js 20 to run one with"
	python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
		skip "none in $cache, and no Python 3.10 with venv and pip to fetch them with"
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
fi
if [ ! -f "$folder/complete" ]; then
	rm -rf "$folder"
	mkdir "$folder"
	if ! {
		python3 -m venv "$folder/python" &&
			"$folder/python/bin/pip" install --quiet --no-deps --only-binary=:all: --require-hashes \
				-r "$from/requirements.txt" &&
			cp "$from/package.json" "$from/package-lock.json" "$folder" &&
			(cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --silent)
	} >&2; then
		rm -rf "$folder"
		skip "the packages of $from cannot be installed"
	fi
	touch "$folder/complete"
fi
# A module is looked for beside the file that names it.
cp "$from/scure_signer.mjs" "$folder/scure_signer.mjs.$$" && mv "$folder/scure_signer.mjs.$$" "$folder/scure_signer.mjs"
echo "$folder"
