#!/usr/bin/env bash
# Builds target/kotlin/libmusig.aar for Android 7 (API level 24) and newer. NOT RUN by the project's own tests, which have
# no Android NDK. They run its check of alignment only, on this machine's library, which is linked the same way.
#
#   bindings/kotlin/android.sh              needs cargo-ndk, ANDROID_NDK_HOME, the four Rust targets, and a run of
#                                           bindings/kotlin/test.sh before it, which compiles the classes
#   bindings/kotlin/android.sh check FILE…  only checks that libraries can be loaded where pages have 16 KiB
#
# libmusig.aar:  AndroidManifest.xml  classes.jar  R.txt  proguard.txt (consumer-rules.pro)  jni/ABI/libmusig_uniffi.so
set -euo pipefail
cd "$(dirname "$0")/../.."

# Every segment that is loaded is aligned to a multiple of 16 KiB. Systems of 32 bits have pages of 4 KiB only.
check_alignment() {
	local library bad=0
	for library in "$@"; do
		local alignments
		alignments=$(readelf --program-headers --wide "$library" | awk '$1 == "LOAD" { print $NF }' | sort -u)
		if [ -z "$alignments" ]; then
			echo "$library: no ELF library" >&2
			bad=1
		fi
		for alignment in $alignments; do
			if [ $((alignment % 16384)) -ne 0 ]; then
				echo "$library: a segment is aligned to $alignment, 0x4000 is needed" >&2
				bad=1
			fi
		done
	done
	[ "$bad" -eq 0 ] && echo "aligned for pages of 16 KiB: $*"
}
if [ "${1:-}" = check ]; then
	shift
	check_alignment "$@"
	exit
fi

: "${ANDROID_NDK_HOME:?the Android NDK, r27 or newer}"
target=${CARGO_TARGET_DIR:-target}
aar=$target/kotlin/aar
rm -rf "$aar"
mkdir -p "$aar"
declare -A abis=(
	[arm64-v8a]=aarch64-linux-android
	[armeabi-v7a]=armv7-linux-androideabi
	[x86_64]=x86_64-linux-android
	[x86]=i686-linux-android
)
for abi in "${!abis[@]}"; do
	# build.rs passes the linker `-z max-page-size=16384`.
	cargo ndk --target "$abi" --platform 24 rustc --lib --release --crate-type cdylib --features uniffi
	mkdir -p "$aar/jni/$abi"
	cp "$target/${abis[$abi]}/release/liblibmusig.so" "$aar/jni/$abi/libmusig_uniffi.so"
	case $abi in *64*) check_alignment "$aar/jni/$abi/libmusig_uniffi.so" ;; esac
done
cat >"$aar/AndroidManifest.xml" <<'MANIFEST'
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="org.libmusig">
    <uses-sdk android:minSdkVersion="24" />
    <uses-permission android:name="android.permission.INTERNET" />
</manifest>
MANIFEST
cp bindings/kotlin/consumer-rules.pro "$aar/proguard.txt"
: >"$aar/R.txt"
jar --create --file "$aar/classes.jar" -C "$target/kotlin/build/classes" org
jar --create --no-manifest --file "$target/kotlin/libmusig.aar" -C "$aar" .
echo "$target/kotlin/libmusig.aar"
