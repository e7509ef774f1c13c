#!/usr/bin/env bash
# Builds bindings/swift/generated/CMusigFFI.xcframework for iOS, its simulator and macOS, which Package.swift then
# prefers to a library of the system. Needs a Mac with Xcode and rustup. NOT RUN where the tests of this repository run.
#
# Dynamic frameworks: the headers and the module map of each lie inside CMusigFFI.framework, so that they never clash
# with those of another library, and an application and its extensions share one copy.
set -euo pipefail
cd "$(dirname "$0")/../.."
export IPHONEOS_DEPLOYMENT_TARGET=15.0 MACOSX_DEPLOYMENT_TARGET=12.0
name=CMusigFFI
target=${CARGO_TARGET_DIR:-target}
generated=bindings/swift/generated
work=$target/xcframework

PROFILE=release bindings/swift/generate.sh
rm -rf "$work" "$generated/$name.xcframework"

# Makes a framework out of one library for each architecture: platform, then targets of rustc.
slice() {
	local platform=$1 triple libraries=()
	shift
	for triple in "$@"; do
		rustup target add "$triple"
		cargo rustc --lib --release --crate-type cdylib --features uniffi --target "$triple"
		libraries+=("$target/$triple/release/liblibmusig.dylib")
	done
	local framework=$work/$platform/$name.framework contents
	contents=$framework
	local plist=$contents/Info.plist
	if [ "$platform" = macos ]; then
		# macOS wants versions; the others want a flat directory.
		contents=$framework/Versions/A
		plist=$contents/Resources/Info.plist
		mkdir -p "$contents/Resources"
		ln -s A "$framework/Versions/Current"
		ln -s Versions/Current/{Headers,Modules,Resources,$name} "$framework/"
	fi
	mkdir -p "$contents/Headers" "$contents/Modules"
	lipo -create "${libraries[@]}" -output "$contents/$name"
	local id=@rpath/$name.framework/$name
	[ "$platform" != macos ] || id=@rpath/$name.framework/Versions/A/$name
	install_name_tool -id "$id" "$contents/$name"
	cp "$target/bindings/swift/$name.h" "$contents/Headers/"
	printf 'framework module %s {\n    header "%s.h"\n    export *\n}\n' "$name" "$name" >"$contents/Modules/module.modulemap"
	local version os minimum
	version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
	case $platform in
	ios) os=iPhoneOS minimum=$IPHONEOS_DEPLOYMENT_TARGET ;;
	ios-simulator) os=iPhoneSimulator minimum=$IPHONEOS_DEPLOYMENT_TARGET ;;
	macos) os=MacOSX minimum=$MACOSX_DEPLOYMENT_TARGET ;;
	esac
	plutil -create xml1 "$plist"
	local entry
	for entry in "CFBundleName $name" "CFBundleExecutable $name" "CFBundleIdentifier org.libmusig.$name" \
		"CFBundlePackageType FMWK" "CFBundleShortVersionString $version" "CFBundleVersion $version"; do
		plutil -insert "${entry%% *}" -string "${entry#* }" "$plist"
	done
	plutil -insert CFBundleSupportedPlatforms -json "[\"$os\"]" "$plist"
	if [ "$platform" = macos ]; then
		plutil -insert LSMinimumSystemVersion -string "$minimum" "$plist"
	else
		plutil -insert MinimumOSVersion -string "$minimum" "$plist"
	fi
	codesign --force --sign - "$framework"
}

slice ios aarch64-apple-ios
slice ios-simulator aarch64-apple-ios-sim x86_64-apple-ios
slice macos aarch64-apple-darwin x86_64-apple-darwin
xcodebuild -create-xcframework \
	-framework "$work/ios/$name.framework" \
	-framework "$work/ios-simulator/$name.framework" \
	-framework "$work/macos/$name.framework" \
	-output "$generated/$name.xcframework"
