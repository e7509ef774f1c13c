#!/usr/bin/env python3
"""The licences of every crate that is compiled into the libraries: a table, then each text once, with who uses it."""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

NAMES = re.compile(r"^(licen[cs]e|copying|unlicense|notice)", re.IGNORECASE)


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def shipped(features):
    """Name and version of each crate that is linked, for any system."""
    tree = output("cargo", "tree", "--locked", "--target", "all", "--edges", "normal", "--features", features,
                  "--prefix", "none", "--format", "{p}")
    found = set()
    for line in tree.splitlines():
        name, version = line.split()[:2]
        found.add((name, version.removeprefix("v")))
    return found


def main():
    with open("deny.toml", "rb") as file:
        features = ",".join(tomllib.load(file)["graph"]["features"])
    crates = shipped(features)
    packages = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
    rows, texts, without = [], defaultdict(list), []
    for package in sorted(packages, key=lambda package: (package["name"], package["version"])):
        name, version = package["name"], package["version"]
        if (name, version) not in crates or package["source"] is None:
            continue
        rows.append(f"| {name} {version} | {package['license'] or 'see below'} | {package['repository'] or ''} |")
        files = [file for file in sorted(Path(package["manifest_path"]).parent.iterdir())
                 if file.is_file() and NAMES.match(file.name)]
        for file in files:
            texts[file.read_text(encoding="utf-8", errors="replace").strip()].append(f"{name} {version}")
        if not files:
            without.append(f"{name} {version}")
    if not rows:
        sys.exit("no crate was found")
    print("# Licences of what libmusig is linked with\n")
    print("libmusig itself is licensed under MIT or Apache-2.0, at your choice. Its libraries contain these crates.\n")
    print("| crate | licence (SPDX) | sources |\n|---|---|---|")
    print("\n".join(rows))
    if without:
        print("\nWithout a text of their own in the package, under the licence named above: " + ", ".join(without) + ".")
    for text, users in sorted(texts.items(), key=lambda item: item[1]):
        fence = "~~~~"
        print(f"\n## {', '.join(users)}\n\n{fence}\n{text}\n{fence}")


if __name__ == "__main__":
    main()
