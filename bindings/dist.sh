#!/usr/bin/env bash
# Builds what a release consists of, for the system it runs on (Linux), into target/dist, with SHA256SUMS.
#
#   bindings/dist.sh              everything: crate c wheel sdist jar licences
#   bindings/dist.sh NAME...      only these; also wheel_arm64, on x86-64, before jar, which then has that library too
#
# The same commit and the same tools (BUILT-WITH-*.txt) give the same shared library and the same wheel in any folder: paths
# are remapped, times are the commit's. The builds are optimised across all crates: many minutes. They have a target
# directory of their own, because another RUSTFLAGS would rebuild the development's. DIST_PROFILE=dev builds without
# optimisation, to try these scripts.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=${DIST:-$target/dist}
build=$target/dist-build
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
python=${PYTHON:-python3}
profile=${DIST_PROFILE:-release}
case $profile in dev) folder=debug ;; *) folder=$profile ;; esac
maturin=maturin==1.16.0 zig=ziglang==0.17.1
system=$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
triple=$(uname -m)-unknown-linux-gnu
[ "$(uname -s)" = Linux ] || { echo "make dist builds on Linux; docs/releasing.md says how the other systems are built" >&2; exit 1; }

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH CARGO_TARGET_DIR=$build
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rust=$(rustc --print sysroot)
export RUSTFLAGS="--remap-path-prefix=$build=/build --remap-path-prefix=$root=/libmusig --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$rust=/rust"
export CFLAGS="-ffile-prefix-map=$build=/build -ffile-prefix-map=$root=/libmusig -ffile-prefix-map=$cargo_home=/cargo"
# Static library and wheel are built with the same linker, and so share what they depend on.
linker=$root/bindings/python/manylinux-cc.sh
variable=CARGO_TARGET_$(uname -m | tr '[:lower:]' '[:upper:]')_UNKNOWN_LINUX_GNU_LINKER
export "$variable=$linker"
export PYTHON=$build/tools/bin/python ZIG_TARGET=$(uname -m)-linux-gnu.2.17
umask 022
mkdir -p "$out" "$build"

# An archive whose bytes depend on the files alone.
archive() { # archive, folder, name in it
	tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar \
		-C "$2" "$3" | gzip --no-name --best >"$1"
}

tools() { # name..., into an environment of their own
	[ -x "$build/tools/bin/python" ] || "$python" -m venv "$build/tools"
	"$build/tools/bin/pip" install --quiet --disable-pip-version-check "$@"
}

crate() {
	# Whoever releases verifies it with `cargo publish --dry-run`, which builds it once more.
	cargo package --quiet --locked --no-verify --allow-dirty --package libmusig
	cp "$build/package/libmusig-$version.crate" "$out/"
}

c() {
	local name=libmusig-$version-$system stage=$build/c
	tools "$zig"
	rm -rf "$stage"
	cargo rustc --quiet --locked --lib --profile "$profile" --target "$triple" --crate-type staticlib
	# Relocatable: the pkg-config file and the CMake package find what lies beside them.
	DESTDIR=$stage PREFIX=/$name STRIP=${STRIP:-strip} bindings/c/install.sh "$build/$triple/$folder/liblibmusig.a"
	strip --strip-debug --enable-deterministic-archives "$stage/$name/lib/libmusig.a"
	sed -i 's|^prefix=.*|prefix=${pcfiledir}/../..|; s|/'"$name"'/|${prefix}/|g' "$stage/$name/lib/pkgconfig/musig.pc"
	cp "$out/LICENSES.md" "$stage/$name/share/doc/musig/"
	archive "$out/$name.tar.gz" "$stage" "$name"
}

# manylinux_2_17: zig brings the symbols of an old glibc, so that the wheel runs on systems older than the one it is built
# on. The generators of the other languages read the library's names, so it is stripped after them.
wheel() {
	local work=$build/wheel bare info
	tools "$maturin" "$zig" wheel==0.45.1
	rm -rf "$work" "$build/natives"
	(cd bindings/python && PATH="$build/tools/bin:$PATH" \
		maturin build --quiet --profile "$profile" --locked --target "$triple" \
		--compatibility manylinux2014 --target-dir "$build" --out "$work/named")
	"$build/tools/bin/wheel" unpack --dest "$work/unpacked" "$work"/named/*.whl >/dev/null
	bare=$(find "$work/unpacked" -name 'lib*.so')
	cp "$bare" "$work/named/"
	strip --strip-unneeded "$bare"
	native "$(uname -m)" "$bare"
	info=$(echo "$work"/unpacked/*/*.dist-info)
	sed -i "s|file://$root|file:///libmusig|g" "$info"/sboms/*.json
	mkdir "$info/licenses"
	cp LICENSE-MIT LICENSE-APACHE "$out/LICENSES.md" "$info/licenses/"
	sed -i '/^License-Expression:/a License-File: LICENSE-MIT\nLicense-File: LICENSE-APACHE\nLicense-File: LICENSES.md' "$info/METADATA"
	"$build/tools/bin/wheel" pack --dest-dir "$work" "$work"/unpacked/* >/dev/null
	cp "$work"/libmusig-"$version"-*.whl "$out/"
}

# The library of the wheel and the jar, in the folder in which JNA looks for it.
native() { # machine, library
	local folder=$build/natives/linux-${1/x86_64/x86-64}
	mkdir -p "$folder"
	cp "$2" "$folder/libmusig_uniffi.so"
}

# The same wheel with the library of arm64, made on x86-64: zig is the C compiler too, and Debian's Rust has the standard
# library.
wheel_arm64() (
	target=aarch64-unknown-linux-gnu library=$build/arm64/aarch64-unknown-linux-gnu/$folder/liblibmusig.so work=$build/wheel_arm64
	debian=$(tests/platforms/debian.sh arm64)
	tools "$zig"
	(
		export LD_LIBRARY_PATH=$debian/usr/lib/$(uname -m)-linux-gnu RUSTC=$debian/usr/bin/rustc
		export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$linker CC_aarch64_unknown_linux_gnu=$linker
		export AR_aarch64_unknown_linux_gnu=$debian/usr/bin/aarch64-linux-gnu-ar ZIG_TARGET=aarch64-linux-gnu.2.17
		# What zig checks at run time unless it optimises has a library that is not linked.
		export CFLAGS_aarch64_unknown_linux_gnu="$CFLAGS -fno-sanitize=undefined"
		unset "$variable"
		cargo rustc --quiet --locked --lib --profile "$profile" --target $target --crate-type cdylib --features uniffi \
			--target-dir "$build/arm64"
		"$debian/usr/bin/aarch64-linux-gnu-strip" --strip-unneeded "$library"
	)
	[ -d "$build/wheel/unpacked" ] || wheel
	native aarch64 "$library"
	rm -rf "$work"
	mkdir "$work"
	cp -r "$build/wheel/unpacked" "$work/"
	cp "$library" "$(find "$work/unpacked" -name 'lib*.so')"
	"$build/tools/bin/wheel" pack --dest-dir "$work" "$work"/unpacked/* >/dev/null
	"$build/tools/bin/wheel" tags --remove --platform-tag manylinux_2_17_aarch64.manylinux2014_aarch64 "$work"/*.whl >/dev/null
	cp "$work"/*.whl "$out/"
)

sdist() {
	tools "$maturin"
	rm -rf "$build/sdist"
	(cd bindings/python && "$build/tools/bin/maturin" sdist --out "$build/sdist")
	cp "$build/sdist/libmusig-$version.tar.gz" "$out/"
}

# The wheel's library is UniFFI's, for glibc 2.17 on; the jar carries the same one, and those of other systems that are in
# the folder NATIVES, as JNA names them: linux-aarch64/libmusig_uniffi.so, win32-x86-64/musig_uniffi.dll.
jar() {
	local library
	[ -d "$build/wheel/named" ] || wheel
	library=$(find "$build/wheel/named" -name 'lib*.so')
	rm -rf "$build/generated" "$build/jar"
	mkdir -p "$build/natives/META-INF"
	cp LICENSE-MIT LICENSE-APACHE "$out/LICENSES.md" "$build/natives/META-INF/"
	[ -z "${NATIVES:-}" ] || cp -r "$NATIVES/." "$build/natives/"
	# The generator reads the same library, so that both agree.
	env -u RUSTFLAGS -u CFLAGS -u "$variable" CARGO_TARGET_DIR="$target" cargo build --quiet --locked --bin uniffi-bindgen \
		--features bindgen,test-hooks
	"$target/debug/uniffi-bindgen" generate --language kotlin --no-format --config bindings/uniffi.toml \
		--out-dir "$build/generated" "$library"
	sed -E -i -f bindings/kotlin/generated.sed "$build/generated/org/libmusig/ffi/musig.kt"
	mvn --batch-mode --quiet -Dstyle.color=never -Dkotlin.compiler.daemon=false -f bindings/kotlin/pom.xml \
		-Dmaven.repo.local="${MAVEN_REPOSITORY:-$target/kotlin/repository}" -Dmusig.build="$build/jar" \
		-Dmusig.generated="$build/generated" -Dmusig.natives="$build/natives" \
		-Dproject.build.outputTimestamp="$SOURCE_DATE_EPOCH" -Dmaven.test.skip=true --activate-profiles release package
	cp "$build/jar/libmusig-$version.jar" "$build/jar/libmusig-$version-sources.jar" \
		"$build/jar/libmusig-$version-javadoc.jar" "$out/"
	cp bindings/kotlin/pom.xml "$out/libmusig-$version.pom"
}

licences() {
	env -u RUSTFLAGS "$python" bindings/licences.py >"$out/LICENSES.md"
}

[ $# -gt 0 ] || set -- licences crate c wheel sdist jar
[ -f "$out/LICENSES.md" ] || licences
for name in "$@"; do
	case $name in
		crate | c | wheel | wheel_arm64 | sdist | jar | licences) "$name" ;;
		*) echo "unknown: $name (crate c wheel wheel_arm64 sdist jar licences)" >&2 && exit 2 ;;
	esac
done
{
	rustc --version
	cc --version | sed -n 1p
	ldd --version | sed -n 1p
	echo "$maturin $zig"
} >"$out/BUILT-WITH-$system.txt"
(cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
(cd "$out" && ls -l && cat SHA256SUMS)
