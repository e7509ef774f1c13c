#!/usr/bin/env bash
# Other linkers and other systems: what of it is cheap. With PLATFORMS_FULL=1 (`make test-platforms`) all of it.
# Closes with `platforms: N passed, N failed[, N skipped]`.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/suites/count.sh
passed=0 failed=0 skipped=0
check() { # name command…
	local name=$1 status=0 start=$SECONDS
	shift
	"$@" || status=$?
	if [ "$status" -eq 0 ]; then
		echo "ok $name ($((SECONDS - start)) s)"
		passed=$((passed + 1))
	elif [ "$status" -eq 77 ] && [ "${MUSIG_REQUIRE_ALL:-0}" != 1 ]; then
		skipped=$((skipped + 1))
	else
		echo "FAILED $name"
		failed=$((failed + 1))
	fi
}
# A script with a line of its own, `NAME: N passed, N failed[, N skipped]`, which is counted.
suite() { # name command…
	local name=$1 log line p f s status=0
	shift
	log=$(mktemp)
	"$@" 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
	line=$(closing "$name" "$log")
	rm -f "$log"
	if [ "$status" -eq 77 ]; then
		check "$name" sh -c 'exit 77'
	elif [ -z "$line" ]; then
		check "$name" false
	else
		read -r p f s <<<"$line"
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
	fi
}
check abidiff tests/abi/abidiff.sh
check gnu_ld tests/platforms/gnu_ld.sh
check check_android tests/platforms/check.sh aarch64-linux-android
check check_ios tests/platforms/check.sh aarch64-apple-ios
if [ "${PLATFORMS_FULL:-0}" -ne 0 ]; then
	check workflows tests/platforms/workflows.sh
	check check_macos tests/platforms/check.sh aarch64-apple-darwin
	check check_windows tests/platforms/check.sh x86_64-pc-windows-gnu
	check check_armv7 tests/platforms/check.sh armv7-unknown-linux-gnueabihf
	suite qemu_arm64 tests/platforms/linux.sh arm64
	suite i686 tests/platforms/linux.sh i686
	suite wine tests/platforms/windows.sh
fi
if [ "$skipped" -gt 0 ]; then
	echo "platforms: $passed passed, $failed failed, $skipped skipped"
else
	echo "platforms: $passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
