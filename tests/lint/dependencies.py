#!/usr/bin/env python3
"""Licences of what is shipped, and crates that it has twice, against deny.toml.

Shipped are the dependencies of the library with the features of deny.toml, on every platform, without those of its
tests. `cargo deny` reads the same file and checks more (advisories, sources); this needs no tool to be built.
"""

import re
import subprocess
import sys
import tomllib
from collections import defaultdict


def shipped(features):
    """Each dependency with its licence, and the names of those that depend on it."""
    command = ["cargo", "tree", "--locked", "--target", "all", "--edges", "normal,build", "--features", features]
    command += ["--prefix", "depth", "--format", ";{p};{l}"]
    tree = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    licences, users, above = {}, defaultdict(set), []
    for line in tree.splitlines():
        depth, package, licence = line.split(";")
        name, version = package.split()[:2]
        package = (name, version.removeprefix("v"))
        del above[int(depth):]
        if above:
            licences[package] = licence.removesuffix(" (*)")
            users[package].add(above[-1][0])
        above.append(package)
    return licences, users


def allowed(licence, allow):
    """Whether an SPDX expression can be met with allowed licences. `/` is an old way to write OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", licence.replace("/", " OR "))

    def alternatives():
        met = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = conjunction() or met
        return met

    def conjunction():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        if tokens[0] == "(":
            tokens.pop(0)
            met = alternatives()
            tokens.pop(0)
            return met
        name = tokens.pop(0)
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            name += " WITH " + tokens.pop(0)
        return name in allow

    return alternatives()


def main():
    with open("deny.toml", "rb") as file:
        config = tomllib.load(file)
    licences, users = shipped(",".join(config["graph"]["features"]))
    problems = []

    allow = set(config["licenses"]["allow"])
    for (name, version), licence in sorted(licences.items()):
        if not licence:
            problems.append(f"{name} {version} names no licence")
        elif not allowed(licence, allow):
            problems.append(f"{name} {version} has the licence {licence}, which deny.toml does not allow")

    versions = defaultdict(list)
    for name, version in licences:
        versions[name].append(version)
    skip = {}
    for entry in config["bans"]["skip"]:
        if not entry.get("reason"):
            problems.append(f"deny.toml names no reason for {entry['crate']}")
        skip[entry["crate"]] = False
    for name, each in sorted(versions.items()):
        left = []
        for version in sorted(each):
            entry = next((entry for entry in skip if fits(entry, name, version)), None)
            if entry is None or len(each) == 1:
                left.append(version)
            else:
                skip[entry] = True
        if len(left) > 1:
            text = "; ".join(f"{version} for {', '.join(sorted(users[name, version]))}" for version in left)
            problems.append(f"{name} is there in {len(left)} versions: {text}. Use one, or give the reason in deny.toml, "
                            "bans.skip")
    problems.extend(f"{entry} is not there twice any more: take it out of deny.toml"
                    for entry, used in skip.items() if not used)

    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(licences)} dependencies, {len(skip)} of them second versions")
    sys.exit(1 if problems or not licences else 0)


def fits(entry, name, version):
    """Whether `name@1.2` means this package."""
    return entry.split("@")[0] == name and (version + ".").startswith(entry.split("@")[1] + ".")


if __name__ == "__main__":
    main()
