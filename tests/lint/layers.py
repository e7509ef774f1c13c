#!/usr/bin/env python3
"""The layers of the library are as ARCHITECTURE.md draws them.

A layer imports only layers that the drawing's arrows lead to; each arrow is an import that exists; there is no circle.
And the names of some crates, `extern "C"` and `unsafe` stand only where they may.
"""

import glob
import re
import sys

# Layers that are more than one folder or file. Others are src/LAYER/ or src/LAYER.rs.
SEVERAL = {"types": ["types", "error", "mutation"]}
# What is named only in these places of src/.
ONLY_IN = {
    r"\blibp2p(_\w+)?::": ["net/"],
    r"(?<!::)\bredb::": ["store/", "lib.rs"],
    r"\buniffi::": ["ffi/facade/", "lib.rs"],
    # The handler of pthread_atfork is a C function too.
    r'\bextern "C" fn': ["ffi/c/", "platform/process.rs"],
    r"allow\(unsafe_code": ["ffi/c/", "ffi/mod.rs", "platform/", "platform.rs"],
    r"\b(tokio|socket2|ureq|rustls)::": ["net/", "node/", "event/", "store/", "chain/", "ffi/"],
    r"\b(std::net|std::fs|std::thread::spawn|SystemTime|Instant::now|getrandom)\b":
        ["net/", "node/", "event/", "store/", "chain/", "ffi/", "platform/", "platform.rs", "signer/",
         # Secret nonces are drawn where they are made and wiped.
         "protocol/crypto/nonce.rs"],
}


def code(path):
    """A file without comments, and without its unit tests."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"^#\[cfg\(test\)\]\nmod \w+ \{\n.*?^\}$", "", text, flags=re.M | re.S)
    return re.sub(r"//.*$", "", text, flags=re.M)


def files(part):
    return glob.glob(f"src/{part}.rs") + glob.glob(f"src/{part}/**/*.rs", recursive=True)


def main():
    problems = []
    with open("ARCHITECTURE.md", encoding="utf-8") as file:
        drawing = re.search(r"```mermaid\n(.*?)```", file.read(), flags=re.S).group(1)
    name = r"([\w/]+)(?:\[\"[^\"]*\"\])?"
    arrows = set(re.findall(rf"^ *{name} --> {name}$", drawing, flags=re.M))
    layers = sorted({layer for arrow in arrows for layer in arrow})
    reach = {layer: set() for layer in layers}
    for _ in layers:
        for upper, lower in arrows:
            reach[upper] |= {lower} | reach[lower]
    problems.extend(f"the drawing goes round in a circle through {layer}" for layer in layers if layer in reach[layer])

    layer_of = {part: layer for layer in layers for part in SEVERAL.get(layer, [layer])}
    known = {path for part in layer_of for path in files(part)} | {"src/lib.rs", "src/ffi/mod.rs"}
    problems.extend(f"{path} belongs to no layer of the drawing"
                    for path in glob.glob("src/**/*.rs", recursive=True) if path not in known)
    imports = {}
    for part, layer in layer_of.items():
        for path in files(part):
            text = code(path)
            found = re.findall(r"\bcrate::(ffi::\w+|\w+)", text)
            for group in re.findall(r"\bcrate::\{(.*?)\};", text, flags=re.S):
                found += re.findall(r"(?:^|[,{]\s*)(\w+)(?=::|,|\s*$|\})", re.sub(r"\{[^{}]*\}", "", group))
            for target in found:
                target = layer_of.get(target.replace("::", "/"))
                if target and target != layer:
                    imports.setdefault((layer, target), path)
    for (layer, target), path in sorted(imports.items()):
        if target not in reach[layer]:
            problems.append(f"{path} imports {target}: no arrows lead from {layer} to {target}")
    problems.extend(f"the drawing has an arrow from {upper} to {lower}, and no import is like it"
                    for upper, lower in sorted(arrows - set(imports)))

    for path in glob.glob("src/**/*.rs", recursive=True):
        text = code(path)
        for pattern, places in ONLY_IN.items():
            if re.search(pattern, text) and not path.removeprefix("src/").startswith(tuple(places)):
                problems.append(f"{path} has {re.search(pattern, text).group(0)}, which belongs to {', '.join(places)}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(layers)} layers, {len(arrows)} arrows, {len(imports)} kinds of imports")
    sys.exit(1 if problems or len(arrows) < 10 else 0)


if __name__ == "__main__":
    main()
