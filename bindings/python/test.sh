#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh virtual environment, and tests what is installed there.
# The last line counts: "python: N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$target/bindings-python
python=${PYTHON:-python3}
mkdir -p "$work"

if [ ! -x "$work/tools/bin/maturin" ]; then
    "$python" -m venv "$work/tools"
    "$work/tools/bin/pip" install --quiet --disable-pip-version-check "maturin>=1.16,<2"
fi
rm -rf "$work/wheel" "$work/venv"
# Counters of live objects are in the tested wheel only. One set of features for library and generator.
(cd bindings/python &&
    "$work/tools/bin/maturin" build --quiet --locked --features uniffi,bindgen,test-hooks \
        --target-dir "$target" --out "$work/wheel")

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "$work"/wheel/libmusig-*.whl pytest mypy "rich>=13" "cryptography>=42"

"$work/venv/bin/mypy" --strict --cache-dir "$work/mypy" examples/python/failover.py bindings/python/top_picture.py
"$work/venv/bin/mypy" --strict --cache-dir "$work/mypy" --follow-imports silent \
    -m libmusig -m libmusig._logging -m libmusig._node -m libmusig._exit -m libmusig.chain -p libmusig.cli \
    -m libmusig.events -m libmusig.group -m libmusig.keys -m libmusig.psbt -m libmusig.signer

# The chain of the example.
cargo build --quiet --example chain --target-dir "$target"

# From elsewhere, so that nothing but the installed package can be imported.
export MUSIG_REPOSITORY=$PWD MUSIG_CHAIN=$target/debug/examples/chain
report=$work/report.txt
status=0
(cd "$work" && venv/bin/python -m pytest -p no:cacheprovider --rootdir "$MUSIG_REPOSITORY/bindings/python" \
    -c "$MUSIG_REPOSITORY/bindings/python/pyproject.toml" "$MUSIG_REPOSITORY/bindings/python/tests" \
    --durations=5 -q "$@") 2>&1 | tee "$report" || status=1

count() { { grep -o -E "[0-9]+ $1" "$report" || true; } | tail -1 | cut -d' ' -f1; }
passed=$(count passed)
failed=$(count failed)
errors=$(count errors?)
failed=$((${failed:-0} + ${errors:-0}))
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
    failed=1
fi
echo "python: ${passed:-0} passed, $failed failed"
exit "$status"
