#!/usr/bin/env bash
# Formatting, lints, documentation: none of them may warn.
set -euo pipefail
cd "$(dirname "$0")/.."

# The packages are called libmusig everywhere, and no document tells anybody to install a name from a registry: `musig`
# belongs to others on PyPI and crates.io, and nothing of ours is published yet.
names_are_ours() {
	local installs='(pip3?|pipx|poetry|conda|mamba|uv( pip)?|cargo) +(install|add)( +-[^ ]+)* +["'\'']?(lib)?musig(["'\''` =<>~!@,;.:)[]|$)'
	local depends='^ *(lib)?musig *= *("[0-9^~=*]|\{ *version)|org\.libmusig:musig|<artifactId>musig<'
	if git grep --no-index --exclude-standard -n -I -E "$installs|$depends" -- . ':!tests/lint.sh'; then
		echo "names_are_ours: these lines name a package that is not ours" >&2
		return 1
	fi
	grep -q -x 'name = "libmusig"' bindings/python/pyproject.toml &&
		grep -q -x 'module-name = "libmusig._ffi"' bindings/python/pyproject.toml &&
		grep -q -x '  <artifactId>libmusig</artifactId>' bindings/kotlin/pom.xml &&
		grep -q -x 'name = "libmusig"' Cargo.toml || {
		echo "names_are_ours: the crate, the wheel, its module and the Maven artifact must be called libmusig" >&2
		return 1
	}
}
names_are_ours
cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
# Arrows point down only: the protocol stands alone.
cargo check --quiet --no-default-features
# What is left out is missed by nobody else.
for features in node discovery nat uniffi; do
	cargo check --quiet --no-default-features --features "$features"
done
