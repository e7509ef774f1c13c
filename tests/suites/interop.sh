#!/usr/bin/env bash
# One session among a node of each language, as processes of their own; the coordinator is killed in each in turn.
# Uses what the suites of the languages built before; a language that is not there is built first, if it can be.
set -uo pipefail
cd "$(dirname "$0")/../.."
target=$PWD/target
missing=()
nodes=()

cargo build --quiet --example interop || exit 1
nodes+=(rust "$target/debug/examples/interop node")

# C, against the shared library that cargo links.
mkdir -p "$target/interop"
if cargo build --quiet --lib && cp "$target/debug/liblibmusig.so" "$target/interop/libmusig.so.0.1" &&
	ln -sf libmusig.so.0.1 "$target/interop/libmusig.so" &&
	${CC:-cc} -std=c99 -Wall -Wextra -Werror -pedantic -Iinclude examples/c/interop.c -o "$target/interop/node-c" \
		-L"$target/interop" -lmusig -Wl,-rpath,"$target/interop"; then
	nodes+=(c "$target/interop/node-c")
else
	missing+=(c)
fi

python=$target/bindings-python/venv/bin/python
if [ -x "$python" ]; then
	nodes+=(python "$python examples/python/interop.py")
else
	missing+=(python)
fi

classes=$target/kotlin/consumer/classes
if [ -f "$target/kotlin/consumer/classpath" ] && [ -d "$classes" ]; then
	nodes+=(kotlin "java -cp $classes:$(cat "$target/kotlin/consumer/classpath") org.example.interop.InteropKt")
else
	missing+=(kotlin)
fi

if [ -x .build/debug/Interop ]; then
	nodes+=(swift "$PWD/bindings/swift/chroot.sh .build/debug/Interop")
else
	missing+=(swift)
fi

if [ ${#missing[@]} -gt 0 ]; then
	echo "not there: ${missing[*]} (run make test-python, test-kotlin, test-swift before)"
	if [ "${MUSIG_REQUIRE_ALL:-0}" = 1 ]; then
		echo "interop: 0 passed, ${#missing[@]} failed"
		exit 1
	fi
fi
"$target/debug/examples/interop" drive "${nodes[@]}"
