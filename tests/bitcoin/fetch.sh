#!/usr/bin/env bash
# Fetches a real Bitcoin node for the tests (Bitcoin Knots, from Debian's unstable suite), once, and prints its path.
#
# Nothing is installed: the packages are downloaded by apt with a state of its own, from the mirror that this machine is
# set up with, checked by apt against Debian's signatures and here by checksum, and unpacked into a folder of
# its own (cache.bash). Once the suite has moved on to another version, that one is taken, by Debian's signatures alone, and
# it says so; MUSIG_BITCOIN_EXACT=1 forbids it.
set -euo pipefail
program=bitcoin
. "$(dirname "$0")/cache.bash"

version=29.4.knots20260508.3-1
package_sha256=33649ca0ff563b2276b0c13cf11e8b1f87b2a977bb3f91d86fdee569d8568cc1
binary_sha256=441c94a053f42d98678d2cdc2e0447dad8be4969623a73521dee86d2fda20813

is() { # file checksum
	[ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]
}

# Prints the path of a node that was fetched before: the expected version, or else another.
fetched() {
	local folder sum
	for folder in "$cache/bitcoin-knots-$version" "$cache"/bitcoin-knots-*; do
		[ -x "$folder/bitcoind" ] || continue
		sum=$binary_sha256
		if [ "$folder" != "$cache/bitcoin-knots-$version" ]; then
			[ "${MUSIG_BITCOIN_EXACT:-0}" = 1 ] && continue
			sum=$(cat "$folder/sha256")
		fi
		if is "$folder/root/usr/bin/bitcoind" "$sum" && "$folder/bitcoind" -version >/dev/null 2>&1; then
			echo "$folder/bitcoind"
			return 0
		fi
	done
	return 1
}

if fetched; then
	exit 0
fi

needs apt-get apt-cache dpkg dpkg-deb sha256sum
[ "$(dpkg --print-architecture)" = amd64 ] || skip "a node is fetched on amd64 alone"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || skip "no node in $cache, and no keys of Debian's archive (debian-archive-keyring) to fetch one with"

lock
if fetched; then
	exit 0
fi

work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
: >"$work/status"
options=(
	-qq
	-o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
	-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
	-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
	-o APT::Install-Recommends=false -o Acquire::Languages=none -o APT::Sandbox::User=root
	-o Debug::NoLocking=1 -o Acquire::Retries=3
)

# The mirrors that this machine takes Debian's packages from.
mirrors=$(apt-get --print-uris update 2>/dev/null | sed -nE "s#^'([^']+)/dists/[^/']+/InRelease'.*#\1#p" | sort -u)
candidate() {
	apt-cache "${options[@]}" madison bitcoin-knots 2>/dev/null | awk '{ print $3 }'
}
use() { # mirror
	echo "deb [signed-by=$keyring] $1 unstable main" >"$work/sources.list"
	apt-get "${options[@]}" update >"$work/log" 2>&1
}
found= version_there=
for mirror in $mirrors; do
	use "$mirror" || continue
	versions=$(candidate)
	[ -n "$versions" ] || continue
	found=$mirror
	version_there=$(head -n 1 <<<"$versions")
	if grep -Fxq "$version" <<<"$versions"; then
		version_there=$version
		break
	fi
done
[ "${mirror:-}" = "$found" ] || use "$found" || found=
[ -n "$found" ] || skip "no mirror of this machine has the package bitcoin-knots"
if [ "$version_there" != "$version" ]; then
	[ "${MUSIG_BITCOIN_EXACT:-0}" != 1 ] || skip "the mirror has bitcoin-knots $version_there, not $version"
	echo "bitcoin: the mirror has bitcoin-knots $version_there instead of $version: taken by Debian's signatures alone" >&2
fi

apt-get "${options[@]}" -y --download-only install "bitcoin-knots=$version_there" >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	skip "the download failed"
}
package=$(echo "$work"/cache/archives/bitcoin-knots_*.deb)
if [ "$version_there" = "$version" ] && ! is "$package" "$package_sha256"; then
	echo "bitcoin: the package bitcoin-knots $version has another checksum than expected" >&2
	exit 1
fi
for archive in "$work"/cache/archives/*.deb; do
	dpkg-deb -x "$archive" "$work/root"
done

# It brings its own C library, so it is started by its own loader.
cat >"$work/bitcoind" <<'SCRIPT'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root/usr
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu" "$root/bin/bitcoind" "$@"
SCRIPT
chmod +x "$work/bitcoind"
sha256sum "$work/root/usr/bin/bitcoind" | cut -d ' ' -f 1 >"$work/sha256"
folder=$cache/bitcoin-knots-$version_there
rm -rf "$folder"
mkdir "$folder"
mv "$work/root" "$work/bitcoind" "$work/sha256" "$folder"
if ! fetched; then
	echo "bitcoin: the node in $folder does not run, or is not the expected one" >&2
	exit 1
fi
