#!/usr/bin/env bash
# Formatting, lints, documentation: none of them may warn.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
# Arrows point down only: the protocol stands alone.
cargo check --quiet --no-default-features
# What is left out is missed by nobody else.
for features in node discovery nat; do
	cargo check --quiet --no-default-features --features "$features"
done
