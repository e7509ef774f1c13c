#!/usr/bin/env bash
# Spelling in all files, by typos: a wheel, pinned by version and hash, kept in the cache folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
pin=tests/lint/typos.txt
version=$(sed -nE 's/^typos==([0-9.]+).*/\1/p' "$pin")
folder=${LIBMUSIG_CACHE:-$HOME/.cache/libmusig}/typos-$version
if [ ! -x "$folder/bin/typos" ]; then
	if ! python3 -m pip --version >/dev/null 2>&1; then
		echo "SKIPPED spelling: no Python 3 with pip"
		exit 77
	fi
	mkdir -p "$(dirname "$folder")"
	new=$(mktemp -d "$folder.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
		--target "$new" --requirement "$pin"; then
		echo "SKIPPED spelling: typos $version could not be installed from PyPI"
		exit 77
	fi
	rm -rf "$folder"
	mv "$new" "$folder"
fi
"$folder/bin/typos" --format brief
