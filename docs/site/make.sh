#!/usr/bin/env bash
# The documentation as a site, target/docs: a landing page, the guides, and the references of Rust, C and C++, Python and
# Kotlin. Open target/docs/index.html.
#
#   docs/site/make.sh           everything
#   docs/site/make.sh NAME…     only these: guides rust c python kotlin
#
# Doxygen is Debian's, the rest comes from PyPI and Maven Central. What cannot be made here is named, and its link is broken.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$target/docs
work=$target/docs-build
mkdir -p "$out" "$work"

tools() {
	[ -x "$work/tools/bin/python" ] || "${PYTHON:-python3}" -m venv "$work/tools"
	"$work/tools/bin/pip" install --quiet --disable-pip-version-check markdown-it-py==4.3.0 pdoc==16.0.0
}
# The generated half of the other languages, and its library.
generated() {
	[ "${MUSIG_BINDINGS_READY:-0}" = 1 ] || [ -n "${generated:-}" ] || bindings/generate.sh >"$work/generate.log" 2>&1 || {
		cat "$work/generate.log"
		exit 1
	}
	generated=1
}
guides() {
	tools
	"$work/tools/bin/python" docs/site/site.py "$out"
}
rust() {
	cargo doc --quiet --no-deps
	rm -rf "$out/rust"
	cp -r "$target/doc" "$out/rust"
	"${PYTHON:-python3}" docs/site/site.py --mend "$out"
}
c() {
	local doxygen root
	if ! doxygen=$(command -v doxygen); then
		root=$(tests/platforms/debian.sh doxygen doxygen)
		doxygen=$root/usr/bin/doxygen
		export LD_LIBRARY_PATH=$root/usr/lib/$(uname -m)-linux-gnu:$root/usr/lib/llvm-14/lib
	fi
	rm -rf "$out/c"
	OUT=$out "$doxygen" docs/site/Doxyfile
}
python() {
	tools
	generated
	rm -rf "$work/python" "$out/python"
	mkdir -p "$work/python"
	cp -r bindings/python/python/libmusig "$work/python/"
	# Its classes are in each other, which pdoc follows without end.
	rm "$work/python/libmusig/errors.pyi"
	# As the wheel has it.
	mkdir "$work/python/libmusig/_ffi"
	cp "$target"/bindings/python/*.py "$target"/bindings/*musig_uniffi.* "$work/python/libmusig/_ffi/"
	for module in "$target"/bindings/python/*.py; do
		echo "from .$(basename "$module" .py) import *  # NOQA"
	done >"$work/python/libmusig/_ffi/__init__.py"
	(cd "$work/python" && PYTHONPATH=. "$work/tools/bin/python" "$root/docs/site/python.py" --no-show-source --output-directory "$out/python" libmusig '!libmusig.cli' '!libmusig._ffi')
}
kotlin() {
	generated
	rm -rf "$out/kotlin"
	mvn --batch-mode --quiet -Dstyle.color=never -f bindings/kotlin/pom.xml \
		-Dmaven.repo.local="${MAVEN_REPOSITORY:-$target/kotlin/repository}" -Dmusig.target="$target" \
		-Dmusig.build="$work/kotlin" --activate-profiles release org.jetbrains.dokka:dokka-maven-plugin:2.1.0:dokka
	cp -r "$work/kotlin/dokka" "$out/kotlin"
}

[ $# -gt 0 ] || set -- guides rust c python kotlin
for name in "$@"; do
	case $name in
	guides | rust | c | python | kotlin) "$name" ;;
	*) echo "unknown: $name (guides rust c python kotlin)" >&2 && exit 2 ;;
	esac
done
echo "$out/index.html"
