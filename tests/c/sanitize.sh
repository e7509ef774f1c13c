#!/bin/sh
# The C programs under the sanitizers and valgrind. Slow: it builds everything once more with a nightly toolchain.
#
#   address     AddressSanitizer with LeakSanitizer: our Rust code and its Rust dependencies, libsecp256k1, the C programs.
#               The standard library is not instrumented; its allocations are.
#   undefined   UndefinedBehaviorSanitizer over the C programs.
#   thread      ThreadSanitizer over the C programs, their callbacks and our Rust code; needs rust-src.
#   valgrind    memcheck over the programs that open no socket.
# usage: sanitize.sh [address|undefined|thread|valgrind]...   (address undefined valgrind without any)
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
host=$(rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-target}/sanitize
programs="good threads storm"
warnings="-std=c99 -g -D_DEFAULT_SOURCE -I$root/include -I$root/tests/c"
libraries="-lgcc_s -lutil -lrt -lpthread -lm -ldl"
mkdir -p "$out"

say() { printf '%s\n' "$*"; }

# build NAME FLAG [CARGO ARGUMENTS]: the static library, all Rust code with the sanitizer, libsecp256k1 too.
build() {
    name=$1
    flag=$2
    shift 2
    RUSTFLAGS="-Zsanitizer=$name" CFLAGS="$flag -g" cargo +nightly rustc --quiet --lib --crate-type staticlib \
        --target "$host" --target-dir "target-$name" --features test-hooks "$@"
}

# program COMPILER-FLAGS ARCHIVE SOURCE OUTPUT
program() {
    # shellcheck disable=SC2086
    ${CC:-cc} $warnings $1 "$root/tests/c/$3" "$2" $libraries -o "$4"
}

address() {
    CC=${CLANG:-${CC:-cc}}
    build address "-fsanitize=address"
    archive=target-address/$host/debug/liblibmusig.a
    for name in $programs panic; do
        program -fsanitize=address "$archive" "$name.c" "$out/$name-address"
        ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 "$out/$name-address"
        say "address: $name is clean"
    done
    # Each fault is in Rust, and each must be caught: that is how we know that the sanitizer is on.
    for fault in overflow use-after-free leak; do
        rustc +nightly -Zsanitizer=address -g --crate-type staticlib --edition 2024 \
            --cfg "fault=\"$fault\"" "$root/tests/c/fault.rs" -o "$out/libfault.a" --target "$host"
        program "-fsanitize=address" "$out/libfault.a" fault.c "$out/fault"
        if "$out/fault" > "$out/fault.log" 2>&1; then
            say "address: a $fault in Rust was not caught"
            exit 1
        fi
        grep -qE 'heap-buffer-overflow|heap-use-after-free|detected memory leaks' "$out/fault.log"
        say "address: a $fault in Rust is caught"
    done
}

undefined() {
    cargo rustc --quiet --lib --crate-type staticlib
    for name in $programs; do
        program "-fsanitize=undefined -fno-sanitize-recover=all" "${CARGO_TARGET_DIR:-target}/debug/liblibmusig.a" \
            "$name.c" "$out/$name-undefined"
        "$out/$name-undefined"
        say "undefined: $name is clean"
    done
}

thread() {
    build thread "-fsanitize=thread" -Zbuild-std
    for name in threads storm; do
        program -fsanitize=thread "target-thread/$host/debug/liblibmusig.a" "$name.c" "$out/$name-thread"
        "$out/$name-thread" 2000
        say "thread: $name is clean"
    done
}

memcheck() {
    cargo rustc --quiet --lib --crate-type staticlib
    for name in good; do
        program "" "${CARGO_TARGET_DIR:-target}/debug/liblibmusig.a" "$name.c" "$out/$name-valgrind"
        valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect \
            --show-leak-kinds=definite,indirect "$out/$name-valgrind"
        say "valgrind: $name has 0 errors and 0 lost bytes"
    done
}

[ $# -gt 0 ] || set -- address undefined valgrind
for kind in "$@"; do
    case $kind in
        address) address ;;
        undefined) undefined ;;
        thread) thread ;;
        valgrind) memcheck ;;
        *) say "unknown: $kind"; exit 2 ;;
    esac
done
