#!/usr/bin/env bash
# Runs a command in a Debian with Swift, in which this checkout is /libmusig; makes that Debian if there is none yet
# (about 2 minutes, 4 GB). Only for systems that have no Swift of their own.
#
#   bindings/swift/chroot.sh swift build
#   bindings/swift/chroot.sh --check       says only whether this can be done here
#
# MUSIG_CACHE: where the Debian is kept; default target/swift-chroot.
set -euo pipefail
cd "$(dirname "$0")/../.."
skip() {
	if [ "${MUSIG_REQUIRE_ALL:-0}" = 1 ]; then
		echo "$*" >&2
		echo "swift: 0 passed, 1 failed"
		exit 1
	fi
	echo "SKIPPED swift: $*"
	exit 77
}
cache=${MUSIG_CACHE:-${CARGO_TARGET_DIR:-target}}
mkdir -p "$cache"
root=$(realpath "$cache")/swift-chroot

[ "$(uname -s)" = Linux ] || skip "only Linux has a chroot with Swift; on a Mac run swift test"
[ "$(id -u)" -eq 0 ] || skip "root is needed for a chroot with Swift"
[ "${1:-}" != --check ] || exit 0
if [ ! -e "$root/usr/bin/swift-ready" ]; then
	# Whoever else makes it here is waited for.
	exec 9>"$root.lock"
	flock 9
	if [ ! -e "$root/usr/bin/swift-ready" ]; then
		if ! command -v debootstrap >/dev/null; then
			{ apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap; } >/dev/null 2>&1 ||
				skip "debootstrap cannot be installed"
		fi
		rm -rf --one-file-system "$root"
		debootstrap --variant=minbase trixie "$root" >"$root.log" 2>&1 || skip "debootstrap failed, see $root.log"
		chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			swiftlang libc6-dev libstdc++-14-dev >>"$root.log" 2>&1 || skip "Swift cannot be installed, see $root.log"
		touch "$root/usr/bin/swift-ready"
	fi
	exec 9>&-
fi
mkdir -p "$root/libmusig"
# Mounts and processes are this one's own: they end with it, however it ends.
exec unshare --mount --propagation private --pid --fork --kill-child bash -c '
	set -e
	root=$1 && shift
	mount --bind "$PWD" "$root/libmusig"
	mount -t proc proc "$root/proc"
	mount --bind /dev "$root/dev"
	mount --bind /tmp "$root/tmp"
	exec chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8 \
		LD_LIBRARY_PATH=/libmusig/bindings/swift/generated/lib LLVM_PROFILE_FILE=/dev/null \
		bash -c "cd /libmusig && exec \"\$@\"" bash "$@"
' bash "$root" "$@"
