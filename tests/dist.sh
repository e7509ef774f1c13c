#!/usr/bin/env bash
# Tests what `make dist` makes: library and wheel once more from a clone in another folder, with equal bytes
# (`reproducible`), then each artifact from its file, in a place that knows nothing of this checkout. About an hour on two
# cores.
#
#   tests/dist.sh NAME…  only these checks, of target/dist as it is
#   DIST_ONCE=1       takes target/dist as it is, and builds nothing
#   DIST_PROFILE=dev  builds without optimisation, to try these scripts
#   DIST=FOLDER       in place of target/dist
#
# Closes with `dist: N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$target/dist-test
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
system=$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
passed=0 failed=0
only=("$@")
[ $# -eq 0 ] || DIST_ONCE=1
check() { # name command…
	local name=$1 log=$work/$1.log
	shift
	[ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" $name "* ]] || return 0
	if "$@" >"$log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		echo "ok      $name"
	else
		failed=$((failed + 1))
		echo "FAILED  $name"
		tail -n 30 "$log"
	fi
}
[ $# -gt 0 ] || rm -rf "$work"
mkdir -p "$work"

# The first program of a document in this language.
quick_start() { # language, document
	awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } /^```$/ { if (inside) exit } inside' "$2"
}

export DIST=${DIST:-$target/dist}
dist=$DIST
reproducible() {
	local elsewhere=$work/a/clone/elsewhere name
	if [ -n "$(git status --porcelain)" ]; then
		echo "there are changes that a clone would not have"
		return 1
	fi
	git clone --quiet --local "$root" "$elsewhere" &&
		env -u CARGO_TARGET_DIR DIST="$elsewhere/dist" "$elsewhere/bindings/dist.sh" licences c wheel || return 1
	for name in "libmusig-$version-$system.tar.gz" "$(cd "$dist" && echo ./*_"$(uname -m)".whl)"; do
		cmp "$dist/$name" "$elsewhere/dist/$name" || return 1
	done
}

if [ "${DIST_ONCE:-0}" != 1 ]; then
	check dist bindings/dist.sh
	check reproducible reproducible
fi

checksums() { (cd "$dist" && sha256sum --check --strict SHA256SUMS); }

# No path of the machine that built it is in what is shipped.
no_paths() {
	mkdir -p "$work/paths" && tar -C "$work/paths" -xzf "$dist/libmusig-$version-$system.tar.gz" &&
		cp "$dist"/libmusig-"$version"-*.whl "$dist/libmusig-$version.jar" "$work/paths/" || return 1
	for packed in "$work"/paths/*.whl "$work"/paths/*.jar; do
		python3 -m zipfile -e "$packed" "$packed.unpacked" && rm "$packed" || return 1
	done
	! grep -r -l -a -F -e "$root" -e "${CARGO_HOME:-$HOME/.cargo}" "$work/paths"
}

c_example() {
	local unpacked=$work/c/libmusig-$version-$system
	mkdir -p "$work/c" && tar -C "$work/c" -xzf "$dist/libmusig-$version-$system.tar.gz" || return 1
	export PKG_CONFIG_PATH=$unpacked/lib/pkgconfig
	cargo build --quiet --example chain || return 1
	local chain=$target/debug/examples/chain
	# shellcheck disable=SC2046
	cc "$root/examples/c/failover.c" -o "$work/c/shared" $(pkg-config --cflags --libs musig) -Wl,-rpath,"$unpacked/lib" &&
		timeout 60 "$chain" "$work/c/shared" || return 1
	# shellcheck disable=SC2046
	cc "$root/examples/c/failover.c" -o "$work/c/static" $(pkg-config --cflags musig) "$unpacked/lib/libmusig.a" \
		$(pkg-config --libs-only-l --static musig | sed 's/-lmusig//') -lgcc_s && timeout 60 "$chain" "$work/c/static" || return 1
	cmake -S "$root/tests/c/cmake" -B "$work/c/cmake" -DCMAKE_PREFIX_PATH="$unpacked" -DEXAMPLES="$root/examples" &&
		cmake --build "$work/c/cmake" && timeout 60 "$chain" "$work/c/cmake/failover-cpp"
}

python_quick_start() { # file to install
	local place=$work/python-$1
	mkdir -p "$place" && python3 -m venv "$place/venv" &&
		"$place/venv/bin/pip" install --quiet --disable-pip-version-check "$2" &&
		quick_start python "$root/bindings/python/README.md" >"$place/quickstart.py" &&
		(cd "$place" && timeout 60 venv/bin/python quickstart.py && venv/bin/musig --help >/dev/null)
}
wheel_quick_start() {
	local wheel
	wheel=$(echo "$dist"/libmusig-"$version"-py3-none-manylinux*_"$(uname -m)".whl)
	[[ $wheel == *manylinux_2_17* || $wheel == *manylinux2014* ]] && python_quick_start wheel "$wheel"
}
# In an arm64 Python under qemu-user.
arm64_wheel_quick_start() {
	local place=$work/python-arm64 debian root_of_python
	debian=$(tests/platforms/debian.sh arm64) &&
		root_of_python=$(tests/platforms/debian.sh python-arm64 python3.11-minimal:arm64 libpython3.11-stdlib:arm64) &&
		python3 -m zipfile -e "$dist"/libmusig-"$version"-py3-none-manylinux*_aarch64.whl "$place/site" &&
		quick_start python "$root/bindings/python/README.md" >"$place/quickstart.py" &&
		LD_LIBRARY_PATH=$debian/usr/lib/$(uname -m)-linux-gnu timeout 300 "$debian/usr/bin/qemu-aarch64" \
			-L "$root_of_python" -U LD_LIBRARY_PATH -E PYTHONPATH="$place/site" \
			"$root_of_python/usr/bin/python3.11" "$place/quickstart.py"
}
# Without optimisation: what is tested is that it builds.
sdist_builds() { MATURIN_PEP517_ARGS="--profile dev" python_quick_start sdist "$dist/libmusig-$version.tar.gz"; }

jar_quick_start() {
	local repository=$work/repository
	mkdir -p "$work/quickstart/kotlin/quickstart"
	quick_start kotlin "$root/bindings/kotlin/README.md" >"$work/quickstart/kotlin/quickstart/QuickStart.kt"
	maven() { mvn --batch-mode --quiet -Dstyle.color=never -Dkotlin.compiler.daemon=false -Dmaven.repo.local="$repository" "$@"; }
	maven org.apache.maven.plugins:maven-install-plugin:3.1.4:install-file -Dfile="$dist/libmusig-$version.jar" \
		-DpomFile="$dist/libmusig-$version.pom" &&
		maven -f bindings/kotlin/consumer/pom.xml -Dmusig.target="$work/quickstart" compile &&
		timeout 60 java -cp "$work/quickstart/kotlin/consumer/classes:$(cat "$work/quickstart/kotlin/consumer/classpath")" QuickStartKt
}

# The jar has the library of each wheel.
jar_natives() {
	python3 - "$dist/libmusig-$version.jar" "$dist"/libmusig-"$version"-*.whl <<-'PROGRAM'
		import sys, zipfile
		jar = zipfile.ZipFile(sys.argv[1])
		for wheel in map(zipfile.ZipFile, sys.argv[2:]):
		    [library] = [name for name in wheel.namelist() if name.endswith(".so")]
		    machine = "linux-aarch64" if "aarch64" in wheel.filename else "linux-x86-64"
		    assert jar.read(f"{machine}/libmusig_uniffi.so") == wheel.read(library), machine
	PROGRAM
}

# What a registry would build from it; below this checkout it would be part of its workspace.
crate_builds() {
	local place status=0
	place=$(mktemp -d) && tar -C "$place" -xzf "$dist/libmusig-$version.crate" &&
		cargo check --quiet --locked --manifest-path "$place/libmusig-$version/Cargo.toml" --target-dir "$work/crate" || status=$?
	rm -rf "$place"
	return "$status"
}

licences() { grep -q '| bitcoin ' "$dist/LICENSES.md" && grep -q '| secp256k1 ' "$dist/LICENSES.md"; }

check checksums checksums
check no_paths no_paths
check licences licences
check c_example c_example
check wheel_quick_start wheel_quick_start
if compgen -G "$dist/*_aarch64.whl" >/dev/null && [ "$(uname -m)" != aarch64 ]; then
	check arm64_wheel_quick_start arm64_wheel_quick_start
elif [ $# -eq 0 ]; then
	echo "SKIPPED arm64_wheel_quick_start: bindings/dist.sh wheel_arm64 was not run"
fi
check sdist_builds sdist_builds
check jar_natives jar_natives
check jar_quick_start jar_quick_start
check crate_builds crate_builds
echo "dist: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
