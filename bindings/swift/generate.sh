#!/usr/bin/env bash
# Generates the Swift half of the interface and puts it where Package.swift looks for it. Nothing of this is committed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bindings/generate.sh
built=${CARGO_TARGET_DIR:-target}/bindings
from=$built/swift
to=bindings/swift/generated
mkdir -p "$to/CMusigFFI" "$to/MusigFFI" "$to/lib"
# A file that did not change keeps its time: it is not compiled again.
place() { cmp -s "$1" "$2" || cp "$1" "$2"; }
place "$from/CMusigFFI.h" "$to/CMusigFFI/CMusigFFI.h"
place "$from/CMusigFFI.modulemap" "$to/CMusigFFI/module.modulemap"
place "$from/MusigFFI.swift" "$to/MusigFFI/MusigFFI.swift"
for library in "$built"/libmusig_uniffi.*; do place "$library" "$to/lib/${library##*/}"; done
