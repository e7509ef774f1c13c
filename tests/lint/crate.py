#!/usr/bin/env python3
"""What `cargo publish` would upload: the sources and documents, no tests, nothing large."""

import os
import subprocess
import sys

LIMIT = 3_500_000
NEEDED = [
    "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "bindings/c/install.sh", "bindings/c/valgrind.supp",
    "bindings/uniffi-bindgen.rs", "build.rs", "docs/c-api.md", "docs/errors.md", "include/musig.h", "include/musig.hpp",
    "include/musig.symbols", "src/lib.rs", "src/protocol/wire/musig.v1.rs",
]


def main():
    command = ["cargo", "package", "--list", "--allow-dirty", "--offline"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split("\n")
    files = [name for name in listed if os.path.isfile(name)]
    problems = [f"{name} is missing" for name in NEEDED if name not in files]
    problems += [f"{name} is of no use there" for name in files if name.startswith(("tests/", "benches/", ".ci/", ".github/"))]
    size = sum(os.path.getsize(name) for name in files)
    if size > LIMIT:
        problems.append(f"{size} bytes are too many")
    for problem in problems:
        print(f"the crate (include in Cargo.toml): {problem}")
    print(f"the crate: {len(files)} files, {size / 1e6:.1f} MB")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
