#!/usr/bin/env python3
"""Shows which functions of the facade the Swift tests entered, and fails if one is missing.

    coverage.py CMusigFFI.h MusigFFI.swift codecov.json

The header names every function of the library; the generated Swift says where each is called; llvm-cov, how often.
"""

import json
import re
import sys

FUNCTION = re.compile(r"\b(uniffi_libmusig_fn_(?:func|method|constructor)_(\w+))\(")
VTABLE = re.compile(r"struct UniffiCallbackInterface(\w+) \{")
CALLBACK = re.compile(r"uniffiObj\.(\w+)\(")


def counter(codecov, source):
    """A function from a line to how often it ran."""
    files = codecov["data"][0]["files"]
    segments = next(file["segments"] for file in files if file["filename"].endswith("/" + source))

    def count(line):
        ran = 0
        for start, _, value, has_count, *_ in segments:
            if start > line:
                break
            ran = value if has_count else 0
        return ran

    return count


def main(header, source, codecov):
    with open(header) as file:
        declared = {symbol: name for symbol, name in FUNCTION.findall(file.read())}
    with open(source) as file:
        lines = file.read().splitlines()
    with open(codecov) as file:
        count = counter(json.load(file), source.rsplit("/", 1)[-1])
    traits, entered, trait = {}, {}, None
    for number, line in enumerate(lines, 1):
        if found := VTABLE.search(line):
            trait = found[1]
        elif line.startswith("}"):
            trait = None
        if found := FUNCTION.search(line):
            entered[found[1]] = count(number)
        if trait and (found := CALLBACK.search(line)):
            traits[f"{trait}.{found[1]} (in Swift)"] = count(number)
    # The library's own implementations of the foreign traits: there are none.
    foreign = {name.split(".")[0].lower() + "_" for name in traits}
    rows = dict(traits)
    for symbol, name in declared.items():
        if not any(name.startswith(prefix) for prefix in foreign):
            rows[name] = entered.get(symbol, 0)
    for name, ran in sorted(rows.items()):
        print(f"  {'covered' if ran else 'MISSING'} {ran:7}  {name}")
    missing = [name for name, ran in rows.items() if not ran]
    print(f"facade: {len(rows) - len(missing)} of {len(rows)} functions covered")
    return 1 if missing or len(rows) < 60 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
