#!/usr/bin/env bash
# Fuzzes each target, or the ones named, and closes with a line for each: `run.sh SECONDS [TARGET…]`.
# It begins with the committed corpora, and keeps what it finds in target/fuzz. A failing input stays in
# target/fuzz/artifacts; copied to tests/fuzz/corpus/TARGET it is replayed by the tests from then on.
set -euo pipefail
cd "$(dirname "$0")/../.."
each=$1
shift
out=$PWD/target/fuzz
if ! rustc +nightly --version >/dev/null 2>&1; then
	echo "fuzzing needs Rust's nightly toolchain: rustup toolchain install nightly --profile minimal" >&2
	exit 1
fi
export PATH=$out/tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
	cargo install --quiet --locked --root "$out/tools" cargo-fuzz
fi
# The library has no unsafe code but in its C interface, which is not part of this: no sanitizer, twice the speed.
fuzz=(--sanitizer none --fuzz-dir . --target-dir "$out")
cd tests/fuzz
cargo +nightly fuzz build "${fuzz[@]}"
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir .)
failed=0 table=""
for target in "${targets[@]}"; do
	mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
	log=$out/$target.log
	status=0
	cargo +nightly fuzz run "${fuzz[@]}" "$target" "$out/corpus/$target" "corpus/$target" -- \
		-max_total_time="$each" -timeout=20 -len_control=10 -max_len=4096 -print_final_stats=1 \
		-artifact_prefix="$out/artifacts/$target/" >"$log" 2>&1 || status=$?
	runs=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log")
	result=ok
	if [ "$status" -ne 0 ]; then
		failed=$((failed + 1))
		result="FAILED: see $log"
	fi
	table+=$(printf '%-10s %10s runs  %5s inputs kept  %s' "$target" "${runs:-0}" \
		"$(find "$out/corpus/$target" -type f | wc -l)" "$result")$'\n'
done
printf '%s' "$table"
echo "fuzz: $((${#targets[@]} - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
