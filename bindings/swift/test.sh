#!/usr/bin/env bash
# Builds the library, generates its Swift half, and runs the tests of the package, its example and its quick start.
# Without a `swift` command it does so in a chroot (bindings/swift/chroot.sh). The last line is
# `swift: N passed, N failed`; 77 and `SKIPPED swift: reason` say that it cannot be run here.
set -uo pipefail
cd "$(dirname "$0")/../.."
generated=bindings/swift/generated
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0
# Counts one check.
check() { # name status
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1)) && echo "passed: $1"
	else
		failed=$((failed + 1)) && echo "FAILED: $1"
	fi
}
finish() {
	echo "swift: $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
	exit
}

# What is built with counters for the coverage writes them nowhere, but for the tests.
inside=(env "LD_LIBRARY_PATH=$PWD/$generated/lib" LLVM_PROFILE_FILE=/dev/null)
root=$PWD
making=
if ! command -v swift >/dev/null; then
	inside=(bindings/swift/chroot.sh)
	root=/libmusig
	bindings/swift/chroot.sh --check || exit
	# While cargo works.
	bindings/swift/chroot.sh true &
	making=$!
fi
swift=("${inside[@]}" swift)
link=(-Xlinker "-L$root/$generated/lib")

bindings/swift/generate.sh
check "the Swift half is generated without a warning" $?
if [ -n "$making" ]; then
	wait "$making" || exit
fi
[ "$failed" -eq 0 ] || finish

"${swift[@]}" build --build-tests --enable-code-coverage "${link[@]}" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
! grep -q 'warning:' "$log" || status=1
check "the package is built without a warning" "$status"
[ "$failed" -eq 0 ] || finish

# A call that never answers must not stop everything.
timeout 300 "${swift[@]}" test --skip-build --enable-code-coverage --disable-swift-testing "${link[@]}" 2>&1 |
	tee "$log" | grep -v "^Test Suite\|' started at"
status=${PIPESTATUS[0]}
tests=$(grep -c "^Test Case .* passed (" "$log")
wrong=$(grep -c "^Test Case .* failed (" "$log")
[ "$status" -eq 0 ] || [ "$wrong" -gt 0 ] || wrong=1
passed=$((passed + tests)) failed=$((failed + wrong))

python3 bindings/swift/coverage.py "$generated/CMusigFFI/CMusigFFI.h" "$generated/MusigFFI/MusigFFI.swift" \
	"$(find .build/ -path '*/debug/codecov/libmusig.json' | head -n 1)"
check "every function of the facade is used" $?

# Spends a coin of a small chain.
cargo build --quiet --example chain
check "the chain of the examples is built" $?
timeout 60 "${CARGO_TARGET_DIR:-target}/debug/examples/chain" "${inside[@]}" .build/debug/Failover 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
for line in '^coordinator: stopped' '^third: .* is in block 101' '^A backup broadcast' '^mined [0-9a-f]*, submitted 1 times'; do
	grep -q "$line" "$log" || status=1
done
check "examples/swift/Failover: the backup broadcasts for a coordinator that stopped" "$status"

# The quick start, as its reader would use it: a package of its own that depends on this one.
quick=$generated/quickstart
mkdir -p "$quick/Sources/QuickStart"
awk '/^```swift$/ { on = 1; next } /^```$/ { on = 0 } on' bindings/swift/README.md >"$quick/Sources/QuickStart/main.swift"
cat >"$quick/Package.swift" <<'END'
// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "QuickStart",
    platforms: [.iOS(.v15), .macOS(.v12)],
    dependencies: [.package(name: "libmusig", path: "../../../..")],
    targets: [
        .executableTarget(name: "QuickStart", dependencies: [.product(name: "Musig", package: "libmusig")])
    ])
END
lines=$(wc -l <"$quick/Sources/QuickStart/main.swift")
[ "$lines" -ge 5 ] && [ "$lines" -le 25 ]
check "the quick start has $lines lines, at most 25" $?
timeout 300 "${swift[@]}" run --package-path "$quick" "${link[@]}" QuickStart 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# 64 bytes in base 64.
grep -q -E '^[A-Za-z0-9+/]{86}==$' "$log" || status=1
check "the quick start runs" "$status"
finish
