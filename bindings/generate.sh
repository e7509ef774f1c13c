#!/usr/bin/env bash
# Builds libmusig_uniffi and writes its Python, Kotlin and Swift halves to target/bindings/.
#
#   bindings/generate.sh              a debug build with counters of live objects, for the tests
#   PROFILE=release bindings/generate.sh    the build that is shipped, without them
#
# Any warning is an error. Nothing of this is committed.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-dev}
target=${CARGO_TARGET_DIR:-target}
out=$target/bindings
case $profile in
    dev) features=bindgen,test-hooks; directory=debug ;;
    *) features=uniffi; directory=$profile ;;
esac
case $(uname -s) in
    Darwin) prefix=lib suffix=dylib ;;
    MINGW* | MSYS* | CYGWIN*) prefix='' suffix=dll ;;
    *) prefix=lib suffix=so ;;
esac

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Runs a command, shows what it says, and fails if that holds a warning.
strict() {
    if ! "$@" 2>&1 | tee "$log"; then
        exit 1
    fi
    if grep -q -i '^ *warning\|: warning' "$log"; then
        echo "generate.sh: a warning is an error here: $*" >&2
        exit 1
    fi
}

mkdir -p "$out"
strict cargo rustc --quiet --lib --crate-type cdylib --profile "$profile" --features "$features"
# Another build writes another library to the same place.
cp "$target/$directory/${prefix}libmusig.$suffix" "$out/${prefix}musig_uniffi.$suffix"
strict cargo build --quiet --bin uniffi-bindgen --features bindgen,test-hooks
for language in python kotlin swift; do
    rm -rf "${out:?}/$language"
    strict "$target/debug/uniffi-bindgen" generate --language "$language" --no-format \
        --config bindings/uniffi.toml --out-dir "$out/$language" \
        "$out/${prefix}musig_uniffi.$suffix"
done
# What UniFFI's Kotlin is to say and do otherwise.
sed -E -i.generated -f bindings/kotlin/generated.sed "$out/kotlin/org/libmusig/ffi/musig.kt"
rm "$out/kotlin/org/libmusig/ffi/musig.kt.generated"
find "$out" -type f | sort
