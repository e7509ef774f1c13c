#!/usr/bin/env bash
# Unpacks packages of Debian, and what they need that this machine has not, into a folder of
# ${LIBMUSIG_CACHE:-~/.cache/libmusig}, once, and prints that folder. Nothing is installed and root is not needed: apt
# works with a state of its own, from the mirrors that this machine is set up with, by Debian's signatures.
#
#   tests/platforms/debian.sh NAME PACKAGE…     NAME is the folder's; PACKAGE may be one of another architecture (libc6:arm64)
#   tests/platforms/debian.sh rust | arm64      folders of several scripts, with the packages below
#
# Exits with 77, and says why, where there is no Debian.
set -euo pipefail
name=$1
shift
if [ $# -eq 0 ]; then
	case $name in
		rust) set -- rustc-web cargo-web rust-web-src ;;
		arm64) set -- rustc-web cargo-web libstd-rust-web-dev:arm64 g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ;;
	esac
fi
cache=${LIBMUSIG_CACHE:-${HOME:-/nonexistent}/.cache/libmusig}/debian
folder=$cache/$name
skip() {
	echo "SKIPPED $name: $1" >&2
	exit 77
}
ready() { # the same packages were asked for, and unpacked to the end
	[ -e "$folder/.packages" ] && [ "$(cat "$folder/.packages")" = "$*" ]
}
if ready "$@"; then
	echo "$folder"
	exit 0
fi
for tool in apt-get dpkg dpkg-deb flock; do
	command -v "$tool" >/dev/null || skip "$tool is needed to fetch $*"
done
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if ready "$@"; then
	echo "$folder"
	exit 0
fi
work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
# What is asked for is fetched even if it is installed: the folder is to be whole.
wanted=$(printf '%s\n' "$@" | sed 's/:.*//' | paste -sd '|')
awk -v RS= -v ORS='\n\n' -v wanted="^Package: ($wanted|libstd-rust-web.*)\$" '
	{ split($0, lines, "\n"); if (lines[1] !~ wanted) print }' /var/lib/dpkg/status >"$work/status"
# What is of other architectures alone needs nothing of this machine.
printf '%s\n' "$@" | grep -qv : || : >"$work/status"
options=(
	-qq
	-o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
	-o APT::Install-Recommends=false -o Acquire::Languages=none -o APT::Sandbox::User=root
	-o Debug::NoLocking=1 -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false
	-o "APT::Architectures::=$(dpkg --print-architecture)"
)
for architecture in $(printf '%s\n' "$@" | sed -n 's/.*://p' | sort -u); do
	options+=(-o "APT::Architectures::=$architecture")
done
{
	# Another source of this machine may be out of reach: what counts is whether the packages are found.
	apt-get "${options[@]}" update || true
	apt-get "${options[@]}" -y --allow-remove-essential --download-only install "$@"
} >"$work/log" 2>&1 || {
	tail -n 5 "$work/log" >&2
	skip "Debian's packages $* cannot be had here"
}
for archive in "$work"/cache/archives/*.deb; do
	dpkg-deb -x "$archive" "$work/root"
done
rm -rf "$folder"
mv "$work/root" "$folder"
echo "$*" >"$folder/.packages"
echo "$folder"
