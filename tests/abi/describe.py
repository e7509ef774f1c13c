#!/usr/bin/env python3
"""Makes a C file that defines every function of a musig.h, with nothing inside: usage: describe.py HEADER >FILE.c

Compiled with debug information it is the binary interface as a C compiler sees it, types and all; Rust's own debug
information does not have them in C's terms. abidw and abidiff read it.
"""

import re
import sys


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read(), flags=re.S)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    print(f'#include "{path}"')
    found = 0
    for prototype in re.findall(r"^(?!typedef)([\w *]+?\bmusig_\w+\([^;{}]*\))(?:\s*MUSIG_\w+)*\s*;", text, flags=re.M):
        prototype = re.sub(r"\bMUSIG_MUST_USE\b", "", prototype)
        print(f"{' '.join(prototype.split())} {{ __builtin_trap(); }}")
        found += 1
    # Numbers that functions pass as int32_t are known by no function's type.
    for name in re.findall(r"^typedef enum (musig_\w+)", text, flags=re.M):
        print(f"enum {name} described_{name};")
    if found == 0:
        sys.exit(f"{path} declares no function")


if __name__ == "__main__":
    main()
