#!/usr/bin/env bash
# Links the shared library by GNU ld, as most distributions do, and looks at what it exports: it must have the interface
# of C, and hide the names of the libsecp256k1 inside.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v ld.bfd >/dev/null || {
	echo "SKIPPED gnu_ld: no ld.bfd"
	exit 77
}
target=${CARGO_TARGET_DIR:-target}
# Not by RUSTFLAGS, which would build everything again.
cargo rustc --quiet --lib --crate-type cdylib -- -C link-arg=-fuse-ld=bfd
library=$target/debug/liblibmusig.so
# Another linker would have left its name in the file.
if readelf --string-dump=.comment "$library" | grep -q LLD; then
	echo "$library was linked by lld"
	exit 1
fi
exported=$(nm --dynamic --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort)
missing=$(comm -13 <(echo "$exported") <(sort include/musig.symbols))
if [ -n "$missing" ]; then
	echo "not exported: $missing"
	exit 1
fi
if grep -E 'secp256k1' <<<"$exported"; then
	echo "the library exports names of libsecp256k1"
	exit 1
fi
