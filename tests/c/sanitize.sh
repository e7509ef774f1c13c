#!/usr/bin/env bash
# The C and C++ programs under the sanitizers and valgrind.
#
#   address     AddressSanitizer with LeakSanitizer: our Rust code and all it depends on, libsecp256k1, the programs in C
#               and C++. Rust's standard library is not instrumented; what it allocates is watched all the same. Three
#               faults in Rust must be caught, which shows that it is on. Needs a nightly toolchain; builds in target-address.
#   undefined   UndefinedBehaviorSanitizer over the programs in C and C++.
#   valgrind    memcheck over the programs that open no socket: no errors, nothing lost. bindings/c/valgrind.supp, which is
#               installed for others, names what the library keeps as long as the process lives. The two that take minutes
#               each, threads.c and storm.c, run with VALGRIND_FULL=1 (make test-full); the sanitizers run them always.
#   thread      ThreadSanitizer over events and lanes. Needs a nightly toolchain with rust-src, for the standard library
#               must be instrumented too; builds in target-thread.
#
# usage: sanitize.sh [address|undefined|valgrind|thread]...   (address undefined valgrind without any)
# What cannot run here is skipped by name; with MUSIG_REQUIRE_ALL=1 that fails, but for thread. NIGHTLY is the folder of a
# nightly toolchain's programs, if it is not rustup's.
set -uo pipefail
cd "$(dirname "$0")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}
out=$target/sanitize
sources=$target/tmp/ffi/programs
libraries="-lgcc_s -lutil -lrt -lpthread -lm -ldl"
passed=0 failed=0 skipped=0 full=${VALGRIND_FULL:-0}
mkdir -p "$out"

good() {
    passed=$((passed + 1))
    echo "ok $1"
}

bad() { # name, and a log
    failed=$((failed + 1))
    [ -n "${2-}" ] && tail -n 60 "$2"
    echo "FAILED $1"
}

skip() { # name, why
    if [ "${MUSIG_REQUIRE_ALL:-0}" = 1 ]; then
        echo "$2"
        bad "$1"
    else
        skipped=$((skipped + 1))
        echo "SKIPPED $1: $2"
    fi
}

nightly() { # program, arguments
    local program=$1
    shift
    if [ -n "${NIGHTLY-}" ]; then RUSTC=$NIGHTLY/rustc "$NIGHTLY/$program" "$@"; else "$program" +nightly "$@"; fi
}

# The static library that the tests are linked with, and the programs that they make from the header.
ordinary() {
    [ -n "${archive-}" ] && return
    cargo test --quiet --no-run --test ffi && archive=$target/debug/deps/liblibmusig.a
    if [ ! -f "$sources/null.c" ] || [ ! -f "$sources/nonsense.c" ] || [ ! -f "$sources/aligned.c" ]; then cargo test --quiet --test ffi generated; fi
}

# compile KIND FLAGS ARCHIVE SOURCE: answers the program's path.
compile() {
    local name program compiler=${CC:-cc} standard=-std=c99
    name=$(basename "$4")
    program=$out/${name/./-}-$1
    case $name in *.cpp) compiler=${CXX:-c++} standard=-std=c++17 ;; esac
    # shellcheck disable=SC2086
    $compiler $standard -g -D_DEFAULT_SOURCE -Iinclude -Itests/c $2 "$4" "$3" $libraries -o "$program" && echo "$program"
}

# run NAME COMMAND...: what it writes is shown if it fails.
run() {
    local name=$1 log=$out/${1//[ :\/]/-}.log
    shift
    if timeout 900 "$@" >"$log" 2>&1; then good "$name"; else bad "$name" "$log"; fi
}

# programs KIND FLAGS ARCHIVE WRAPPER...: builds and runs those that the kind is for.
programs() {
    local kind=$1 flags=$2 archive=$3 path program arguments options store step
    shift 3
    # The examples spend a coin of a small chain.
    cargo build --quiet --example chain || bad "$kind: the chain of the examples does not build"
    for path in tests/c/good.c "$sources/null.c" "$sources/nonsense.c" "$sources/aligned.c" tests/c/threads.c tests/c/storm.c tests/c/fork.c \
        tests/c/foreign.c tests/c/network.c tests/c/panic.c tests/c/restart.c tests/cpp/handles.cpp \
        examples/c/failover.c examples/c/epoll.c examples/cpp/failover.cpp; do
        arguments=() options=()
        case $kind:$path in
            # Only the build for the address sanitizer has the hook that makes a node fail.
            undefined:*/panic.c | valgrind:*/panic.c) continue ;;
            # They open sockets.
            valgrind:examples/* | valgrind:*/network.c) continue ;;
        esac
        case $kind$full:$path in
            valgrind0:*/threads.c | valgrind0:*/storm.c) continue ;;
        esac
        case $kind:$path in
            valgrind:*/storm.c) arguments=(1000) ;;
            # Nor has it anything "still reachable" or "possibly lost" that the suppressions for others do not name.
            valgrind:*/good.c | valgrind:*/threads.c) options=(--errors-for-leak-kinds=all --show-leak-kinds=all) ;;
            # What a child of fork() has of its parent's it does not free, and valgrind counts that when the child ends.
            valgrind:*/fork.c) options=(--leak-check=no) ;;
            address:*/storm.c | undefined:*/storm.c) arguments=(20000) ;;
        esac
        if ! program=$(compile "$kind" "$flags" "$archive" "$path"); then
            bad "$kind: $path does not compile"
            continue
        fi
        if [[ $path == */restart.c ]]; then
            store=$(mktemp -d)
            "$@" "$program" "$store/store" die >"$out/restart.log" 2>&1
            [ $? -eq 137 ] || bad "$kind: $path dies" "$out/restart.log"
            for step in handle quiet busy; do
                run "$kind: $path $step" "$@" "$program" "$store/store" "$step"
            done
            rm -rf "$store"
        else
            case $path in examples/*/failover.*) options=("$target/debug/examples/chain" "${options[@]}") ;; esac
            run "$kind: $path" "$@" "${options[@]}" "$program" "${arguments[@]}"
        fi
    done
}

address() {
    local fault log
    if ! nightly rustc --version >/dev/null 2>&1; then
        skip "address" "there is no nightly toolchain (rustup toolchain install nightly)"
        return
    fi
    ordinary
    if ! RUSTFLAGS="-Zsanitizer=address" CFLAGS="-fsanitize=address -g" CARGO_PROFILE_DEV_DEBUG=line-tables-only \
        nightly cargo rustc --quiet --lib --crate-type staticlib --target "$host" --target-dir target-address \
        --features test-hooks; then
        bad "address: the library does not build"
        return
    fi
    export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
    # Waits out the time limits of callbacks, beside the others.
    local late
    late=$(compile address -fsanitize=address "target-address/$host/debug/liblibmusig.a" tests/c/foreign.c)
    cp "$late" "$out/late"
    "$out/late" hang >"$out/late.log" 2>&1 &
    late=$!
    programs address -fsanitize=address "target-address/$host/debug/liblibmusig.a"
    if wait "$late"; then good "address: tests/c/foreign.c hang"; else bad "address: tests/c/foreign.c hang" "$out/late.log"; fi
    for fault in overflow:heap-buffer-overflow use-after-free:heap-use-after-free leak:'detected memory leaks'; do
        log=$out/fault.log
        if nightly rustc -Zsanitizer=address -g --crate-type staticlib --edition 2024 --target "$host" \
            --cfg "fault=\"${fault%%:*}\"" tests/c/fault.rs -o "$out/libfault.a" 2>"$log" &&
            compile address -fsanitize=address "$out/libfault.a" tests/c/fault.c >/dev/null &&
            ! "$out/fault-c-address" >"$log" 2>&1 && grep -q "${fault#*:}" "$log"; then
            good "address: ${fault%%:*} in Rust is caught"
        else
            bad "address: ${fault%%:*} in Rust is not caught" "$log"
        fi
    done
    unset ASAN_OPTIONS
}

undefined() {
    ordinary
    programs undefined "-fsanitize=undefined -fno-sanitize-recover=all" "$archive"
}

memcheck() {
    # Scripts may run as root in CI.
    if ! command -v valgrind >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt-get update && apt-get install --yes --no-install-recommends valgrind libc6-dbg) >"$out/apt.log" 2>&1
    fi
    if ! command -v valgrind >/dev/null; then
        skip "valgrind" "it is not installed (apt-get install valgrind)"
        return
    fi
    ordinary
    programs valgrind "" "$archive" valgrind --quiet --error-exitcode=9 --child-silent-after-fork=yes --leak-check=full \
        --suppressions=bindings/c/valgrind.supp --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect
}

thread() {
    local name program sysroot
    sysroot=$(nightly rustc --print sysroot 2>/dev/null)
    if [ ! -d "$sysroot/lib/rustlib/src/rust/library" ]; then
        MUSIG_REQUIRE_ALL=0 skip "thread" "no nightly toolchain with rust-src (rustup component add rust-src --toolchain nightly)"
        return
    fi
    if ! RUSTFLAGS="-Zsanitizer=thread" CFLAGS="-fsanitize=thread -g" nightly cargo rustc --quiet -Zbuild-std --lib \
        --crate-type staticlib --target "$host" --target-dir target-thread --features test-hooks; then
        bad "thread: the library does not build"
        return
    fi
    for name in good threads storm foreign panic; do
        program=$(compile thread "-fsanitize=thread -fno-builtin tests/c/tsan.c" "target-thread/$host/debug/liblibmusig.a" "tests/c/$name.c") || {
            bad "thread: $name does not compile"
            continue
        }
        if [ "$name" = storm ]; then run "thread: $name" "$program" 20000; else run "thread: $name" "$program"; fi
    done
}

[ $# -gt 0 ] || set -- address undefined valgrind
for kind in "$@"; do
    start=$SECONDS
    case $kind in
        address) address ;;
        undefined) undefined ;;
        thread) thread ;;
        valgrind) memcheck ;;
        *) echo "unknown: $kind" && exit 2 ;;
    esac
    echo "$kind: $((SECONDS - start)) s"
done
echo "sanitize: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
