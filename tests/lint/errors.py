#!/usr/bin/env python3
"""docs/errors.md has every status of include/musig.h with its number, its cause in the header's words, the errors of Rust
that have it (tests/vectors/errors.txt), those of Python, Kotlin and Swift, and what to do.

`errors.py --write` writes the table anew and keeps what stands under "what to do"; a new error needs a sentence there.
"""

import re
import sys

DOCUMENT = "docs/errors.md"
BEGIN, END = "<!-- errors: -->", "<!-- end of errors -->"
# The errors of Python, Kotlin and Swift, by the first part of the Rust error's name. A status that is not here is C's own.
FACADE = {
    "ProposalError": "ProposalRefused", "WireError": "InputRefused", "SignerError": "SignerFailed",
    "StoreError": "StoreFailed", "ConsentError": "ConsentRefused", "ElectionError::NoSigners": "NoSigners",
    "ElectionError::IndexOutOfRange": "IndexOutOfRange", "WireError::UnknownSession": "InputRefused",
    "Error::Config": "InvalidConfig", "Error::Limit": "LimitReached", "Error::Network": "NetworkFailed",
}
# Statuses of which the facade has an error of its own, without one of Rust's.
BESIDE = {"INVALID_ARGUMENT": "InvalidArgument", "CHAIN": "ChainUnreachable"}


def statuses():
    """Number, name and first sentences of each status in the header."""
    with open("include/musig.h", encoding="utf-8") as file:
        text = file.read()
    found = []
    for doc, name, number in re.findall(r"/\*\*\n((?:   \*.*\n)+?)   \*/\n  MUSIG_STATUS_(\w+) = (\d+)", text):
        words = " ".join(" ".join(line.strip().removeprefix("*") for line in doc.splitlines()).split())
        found.append((int(number), name, words))
    return sorted(found)


def rust():
    """The errors of Rust with each status."""
    found = {}
    with open("tests/vectors/errors.txt", encoding="utf-8") as file:
        for line in file:
            number, _, name = line.split()
            found.setdefault(int(number), []).append(name)
    return found


def variants():
    with open("src/ffi/facade/error.rs", encoding="utf-8") as file:
        body = re.search(r"^pub enum MusigError \{\n(.*?)^\}", file.read(), flags=re.M | re.S).group(1)
    return set(re.findall(r"^    ([A-Z]\w*) \{", body, flags=re.M))


def facade(status, names):
    known = variants()
    found = {BESIDE[status]} if status in BESIDE else set()
    for name in names:
        first, last = name.split("::")
        found.add(FACADE.get(name) or FACADE.get(first) or last)
    for name in found - known:
        sys.exit(f"src/ffi/facade/error.rs has no {name}: mend FACADE in tests/lint/errors.py")
    return sorted(found)


def main():
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    advice = {}
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
        if len(cells) == 6 and cells[0].isdigit():
            advice[int(cells[0])] = cells[5]
    names = rust()
    lines = ["| code | C: `MUSIG_STATUS_` | Rust | Python, Kotlin, Swift | cause | what to do |", "|---|---|---|---|---|---|"]
    problems = []
    for number, status, cause in statuses():
        if number == 0:
            continue
        todo = advice.pop(number, "")
        if not todo:
            problems.append(f"{DOCUMENT} does not say what to do about {status} ({number})")
        errors = names.pop(number, [])
        lines.append(" | ".join([
            f"| {number}", f"`{status}`", ", ".join(f"`{name}`" for name in errors) or "-",
            ", ".join(f"`{name}`" for name in facade(status, errors)) or "-", cause, f"{todo} |",
        ]))
    problems += [f"{DOCUMENT} has the status {number}, which the header has not" for number in advice]
    problems += [f"status {number} of {', '.join(of)} is not in the header" for number, of in names.items()]
    shown = " ".join(lines)
    problems += [f"no status is the {name} of Python, Kotlin and Swift" for name in sorted(variants())
                 if f"`{name}`" not in shown and name != "CallbackFailed"]
    written = f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"
    if "--write" in sys.argv:
        with open(DOCUMENT, "w", encoding="utf-8") as file:
            file.write(written)
    elif written != text:
        problems.append(f"{DOCUMENT} is not what tests/lint/errors.py --write writes")
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
