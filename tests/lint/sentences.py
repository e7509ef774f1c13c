#!/usr/bin/env python3
"""The first sentence about each event and each error is the same in Rust, in C and in the facade of the other languages.

Rust: src/protocol/event.rs and src/error.rs. C: the enumerations of include/musig.h, where the class (`Durable.`) stands
first, and fields may follow a colon. Facade: src/ffi/facade/event.rs and error.rs. The faults of proposals,
consents, signers and stores are told apart in Rust and in the facade only.
"""

import re
import sys

# Errors of Rust that have another name in C, or in the facade (in that order). None: not told apart there.
OTHER_NAMES = {
    "Config": ("CONFIG", "InvalidConfig"),
    "Consent": (None, "ConsentRefused"),
    "Election": ("ELECTION", None),
    "Limit": ("LIMIT", "LimitReached"),
    "Network": ("NETWORK", "NetworkFailed"),
    "Proposal": ("PROPOSAL", "ProposalRefused"),
    "Signer": ("SIGNER", "SignerFailed"),
    "Store": ("STORE", "StoreFailed"),
    "Wire": ("WIRE", "InputRefused"),
}


def sentence(lines):
    text = re.sub(r"^Durable[^.]*\. ", "", " ".join(" ".join(lines).split()))
    return re.split(r"(?:[.:]|\?)(?:\s|$)", text)[0]


def rust(path, enum):
    """The variants of an enum with the first sentence of each."""
    with open(path, encoding="utf-8") as file:
        body = re.search(rf"^pub enum {enum} \{{\n(.*?)^\}}", file.read(), flags=re.M | re.S).group(1)
    found = {}
    for doc, name in re.findall(r"((?:^    ///.*\n)+)(?:^    (?:#\[| |\)).*\n)*^    (\w+)", body, flags=re.M):
        found[name] = sentence(line.strip().removeprefix("///") for line in doc.splitlines())
    assert set(found) == set(re.findall(r"^    ([A-Z]\w*)", body, flags=re.M)), f"{path} has variants that are not read"
    return found


def c(prefix):
    with open("include/musig.h", encoding="utf-8") as file:
        text = file.read()
    found = {}
    for doc, name in re.findall(rf"/\*\*\n((?:   \*.*\n)+?)   \*/\n  {prefix}(\w+) =", text):
        found[name] = sentence(line.strip().removeprefix("*") for line in doc.splitlines())
    return found


def capitals(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def main():
    problems, compared = [], 0
    for what, ours, theirs, facade in (
        ("event", rust("src/protocol/event.rs", "Event"), c("MUSIG_EVENT_"), rust("src/ffi/facade/event.rs", "Event")),
        ("error", rust("src/error.rs", "Error"), c("MUSIG_STATUS_"), rust("src/ffi/facade/error.rs", "MusigError")),
    ):
        for name, text in ours.items():
            in_c, in_facade = OTHER_NAMES.get(name, (capitals(name), name)) if what == "error" else (capitals(name), name)
            for where, key, found in (("C", in_c, theirs), ("the facade", in_facade, facade)):
                if key is None:
                    continue
                compared += 1
                if key not in found:
                    problems.append(f"{what} {name} is not in {where} as {key}")
                elif found[key] != text:
                    problems.append(f"{what} {name}: Rust says {text!r}, {where} says {found[key]!r}")
    # In C each reason for which consent was refused is a status of its own.
    in_c = c("MUSIG_STATUS_")
    for name, text in rust("src/error.rs", "ConsentError").items():
        compared += 1
        if in_c.get(capitals(name)) != text:
            problems.append(f"ConsentError::{name}: Rust says {text!r}, C says {in_c.get(capitals(name))!r}")
    for ours, theirs in (
        ("ProposalError", "ProposalProblem"),
        ("ConsentError", "ConsentProblem"),
        ("SignerError", "SignerProblem"),
        ("StoreError", "StoreProblem"),
    ):
        facade = rust("src/ffi/facade/error.rs", theirs)
        for name, text in rust("src/error.rs", ours).items():
            # What a foreign signer says is one of any other problems there.
            if (ours, name) == ("SignerError", "Other"):
                continue
            compared += 1
            if facade.get(name) != text:
                problems.append(f"{ours}::{name}: Rust says {text!r}, the facade says {facade.get(name)!r}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{compared} first sentences compared")
    sys.exit(1 if problems or compared < 100 else 0)


if __name__ == "__main__":
    main()
