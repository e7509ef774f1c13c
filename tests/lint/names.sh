#!/usr/bin/env bash
# The packages are called libmusig everywhere, and no document tells anybody to install a name from a registry: `musig`
# belongs to others on PyPI and crates.io, and nothing of ours is published yet.
set -euo pipefail
cd "$(dirname "$0")/../.."
installs='(pip3?|pipx|poetry|conda|mamba|uv( pip)?|cargo) +(install|add)( +-[^ ]+)* +["'\'']?(lib)?musig(["'\''` =<>~!@,;.:)[]|$)'
depends='^ *(lib)?musig *= *("[0-9^~=*]|\{ *version)|org\.libmusig:musig|<artifactId>musig<'
if git grep --no-index --exclude-standard -n -I -E "$installs|$depends" -- . ':!tests/lint/names.sh'; then
	echo "these lines name a package that is not ours" >&2
	exit 1
fi
if ! { grep -q -x 'name = "libmusig"' bindings/python/pyproject.toml &&
	grep -q -x 'module-name = "libmusig._ffi"' bindings/python/pyproject.toml &&
	grep -q -x '  <artifactId>libmusig</artifactId>' bindings/kotlin/pom.xml &&
	grep -q -x 'name = "libmusig"' Cargo.toml; }; then
	echo "the crate, the wheel, its module and the Maven artifact must be called libmusig" >&2
	exit 1
fi
