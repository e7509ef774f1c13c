#!/usr/bin/env bash
# Builds, tests and installs the Kotlin package, then runs what depends on nothing but the installed artifact: the
# consumer, the example and the quick start of the README. Needs cargo, a JDK 17 and Maven; all it makes is in target/.
#
#   MUSIG_BINDINGS_READY=1   takes target/bindings as it is, rather than to generate it
set -uo pipefail
cd "$(dirname "$0")/../.."
passed=0 failed=0
finish() {
	echo "kotlin: $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
	exit
}
skip() {
	if [ "${MUSIG_REQUIRE_ALL:-0}" = 1 ]; then
		echo "$1" >&2
		failed=$((failed + 1))
		finish
	fi
	echo "SKIPPED kotlin: $1"
	exit 77
}
# check NAME COMMAND...: one test, its output shown only if it fails.
check() {
	local name=$1 log=$work/check.log
	shift
	if "$@" >"$log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		echo "ok      $name: $(tail -n 1 "$log")"
	else
		failed=$((failed + 1))
		echo "FAILED  $name"
		cat "$log"
	fi
}
for tool in java javac mvn; do
	command -v "$tool" >/dev/null || skip "there is no $tool"
done
version=$(javac -version 2>&1 | sed -E 's/javac ([0-9]+).*/\1/')
[ "$version" -ge 17 ] 2>/dev/null || skip "JDK 17 is needed, this is ${version:-unknown}"

target=$PWD/${CARGO_TARGET_DIR:-target}
case ${CARGO_TARGET_DIR:-} in /*) target=$CARGO_TARGET_DIR ;; esac
work=$target/kotlin
mkdir -p "$work"
maven() {
	mvn --batch-mode --quiet -Dstyle.color=never -Dkotlin.compiler.daemon=false -Dkotlin.compiler.incremental=true \
		-Dmaven.repo.local="$work/repository" -Dmusig.target="$target" "$@" </dev/null
}

# The native library, under the directory where JNA looks for it.
if [ "${MUSIG_BINDINGS_READY:-0}" != 1 ]; then
	bindings/generate.sh >"$work/generate.log" 2>&1 || {
		cat "$work/generate.log"
		failed=1
		finish
	}
fi
case $(uname -s) in
	Darwin) system=darwin ;;
	MINGW* | MSYS* | CYGWIN*) system=win32 ;;
	*) system=linux ;;
esac
case $(uname -m) in
	x86_64) machine=x86-64 ;;
	arm64 | aarch64) machine=aarch64 ;;
	*) machine=$(uname -m) ;;
esac
rm -rf "$work/natives"
mkdir -p "$work/natives/$system-$machine"
for library in "$target"/bindings/*musig_uniffi.{so,dylib,dll}; do
	[ -e "$library" ] || continue
	copy=$work/natives/$system-$machine/$(basename "$library")
	# Names stay, and what only a debugger wants goes.
	strip -S -o "$copy" "$library" 2>/dev/null || cp "$library" "$copy"
done

# The first run downloads Maven's plugins.
rm -rf "$work/build/surefire-reports"
maven -f bindings/kotlin/pom.xml -Dmaven.test.failure.ignore=true install
installed=$?
for report in "$work"/build/surefire-reports/TEST-*.xml; do
	[ -e "$report" ] || continue
	counts=$(grep -m 1 '<testsuite ' "$report")
	number() { sed -E "s/.* $1=\"([0-9]+)\".*/\1/" <<<"$counts"; }
	bad=$(($(number errors) + $(number failures)))
	failed=$((failed + bad))
	passed=$((passed + $(number tests) - $(number skipped) - bad))
done
if [ "$installed" -ne 0 ] || [ "$passed" -eq 0 ]; then
	echo "the package was not built" >&2
	failed=$((failed + 1))
	finish
fi

# The quick start is the first program in the README.
mkdir -p "$work/quickstart"
awk '/^```kotlin$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' bindings/kotlin/README.md \
	>"$work/quickstart/QuickStart.kt"
check "the quick start has at most 25 lines" test "$(wc -l <"$work/quickstart/QuickStart.kt")" -le 25
# The compiler that works incrementally does not see that the jar under the same version is another one.
rm -rf "$work/consumer"
if ! maven -f bindings/kotlin/consumer/pom.xml compile; then
	echo "the consumer was not built" >&2
	failed=$((failed + 1))
	finish
fi
classes=$work/consumer/classes:$(cat "$work/consumer/classpath")
if command -v readelf >/dev/null && [ "$system" = linux ]; then
	check "alignment" bindings/kotlin/android.sh check "$target/bindings/libmusig_uniffi.so"
fi
check "consumer" timeout 60 java -cp "$classes" org.example.consumer.ConsumerKt
# A program whose main function throws ends, though its node has threads that called it.
daemon_threads() {
	local status=0 said
	said=$(timeout 60 java -cp "$classes" org.example.consumer.Throws 2>&1) || status=$?
	echo "$said"
	[ "$status" -eq 1 ] && [[ $said == *IllegalArgumentException:\ as\ it\ should\ be* ]]
}
check "daemon_threads" daemon_threads
# Spends a coin of a small chain.
check "the chain of the examples is built" cargo build --quiet --example chain
check "example" timeout 90 "$target/debug/examples/chain" java -cp "$classes" org.example.failover.FailoverKt
check "quick start" timeout 60 java -cp "$classes" QuickStartKt
finish
