#!/usr/bin/env bash
# Puts other people's signers, btclib-wallet (Python) and @scure/btc-signer (npm), into a folder of its own (cache.bash),
# once, by version and checksum, and prints its path.
set -euo pipefail
program="other signers"
. "$(dirname "$0")/cache.bash"

from=$(cd "$(dirname "$0")/others" && pwd)
# Other versions are another folder.
folder=$cache/signers-$(cat "$from/requirements.txt" "$from/package-lock.json" | cksum | cut -d' ' -f1)

check() {
	needs npm node
	node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' ||
		skip "not in $cache, and no Node.js 20 to run one with"
	needs_python
}

make() { # folder
	{
		python3 -m venv "$1/python" &&
			"$1/python/bin/pip" install --quiet --no-deps --only-binary=:all: --require-hashes -r "$from/requirements.txt" &&
			cp "$from/package.json" "$from/package-lock.json" "$1" &&
			(cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --silent)
	} || skip "the packages of $from cannot be installed"
}

once "$folder"
# A module is looked for beside the file that names it.
cp "$from/scure_signer.mjs" "$folder/scure_signer.mjs.$$" && mv "$folder/scure_signer.mjs.$$" "$folder/scure_signer.mjs"
echo "$folder"
