#!/usr/bin/env python3
"""What the documents name exists: paths in code spans, targets of links, and the test files in tests/README.md. Each is
part of the site (docs/site/site.py).

A code span is a path if it begins with a folder or file of the repository's root, or ends in a file name's extension or
in a slash. What is built (target/) and what others have is none.
"""

import glob
import os
import re
import subprocess
import sys

# Documents whose code spans are checked. Links are checked in all documents.
PATHS_IN = ["ARCHITECTURE.md", "CONTRIBUTING.md", "tests/README.md", "examples/README.md"]
EXTENSION = re.compile(r"\.(c|cpp|h|hpp|kt|md|proto|py|rs|sh|swift|symbols|toml)$")


def spans(text):
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def paths(text, top):
    """Each path with the folders that its paragraph or table row names: a name without a folder is in one of them."""
    for paragraph in re.split(r"\n\n|\n(?=\|)|\n(?=\d+\. )|\n(?=[-*] )", text):
        words = [word for span in spans(paragraph) for word in span.split()
                 if re.fullmatch(r"[\w.*/-]+", word) and not word.startswith(("/", "-", "..", "target/"))]
        folders = [word for word in words if word.endswith("/")]
        for word in words:
            if "/" in word and (word.split("/")[0] in top or word.endswith("/")):
                yield word, []
            elif EXTENSION.search(word):
                yield word, folders


def main():
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.split("\n")
    top = {name.split("/")[0] for name in files if name}
    problems, checked = [], 0
    for document in PATHS_IN:
        with open(document, encoding="utf-8") as file:
            text = file.read()
        without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        for path, folders in paths(without_blocks, top):
            checked += 1
            if not any(glob.glob(os.path.join(base, path)) for base in [".", os.path.dirname(document), *folders]):
                problems.append(f"{document} names {path}, which does not exist")
    for document in (name for name in files if name.endswith(".md") and os.path.exists(name)):
        with open(document, encoding="utf-8") as file:
            text = file.read()
        # [text](target) and [reference]: target
        targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, flags=re.M)
        for target in targets:
            path = target.split("#")[0]
            if path and not re.match(r"[a-z]+:", path):
                checked += 1
                if not os.path.exists(os.path.join(os.path.dirname(document), path)):
                    problems.append(f"{document} links to {target}, which does not exist")
    with open("docs/site/site.py", encoding="utf-8") as file:
        site = file.read()
    for document in (name for name in files if name.endswith(".md") and os.path.exists(name)):
        checked += 1
        if f'("{document}", ' not in site:
            problems.append(f"{document} is in no list of docs/site/site.py")
    with open("tests/README.md", encoding="utf-8") as file:
        readme = file.read()
    for path in glob.glob("tests/*/*.rs"):
        folder, name = path.split("/")[1:]
        if folder in ("protocol", "storage", "network", "chain", "node", "bitcoin", "c") and name not in ("main.rs", "support.rs"):
            checked += 1
            if f"`{path}`" not in readme:
                problems.append(f"tests/README.md does not name {path}")
    for rule, path in re.findall(r"^\| ([SV]\d+) \|.*\| `(\S+)` \|$", readme, flags=re.M):
        checked += 1
        with open(path, encoding="utf-8") as file:
            if f'"{rule}"' not in file.read():
                problems.append(f"tests/README.md says that {path} checks {rule}, which it does not")
    with open("tests/simulation/checks/mod.rs", encoding="utf-8") as file:
        rules = re.search(r"RULES.*?= \[(.*?)\];", file.read(), flags=re.S).group(1)
    for rule in re.findall(r'"(\w+)"', rules):
        if f"| {rule} |" not in readme:
            problems.append(f"tests/README.md does not say which file checks {rule}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{checked} paths, links and promises in the documents")
    sys.exit(1 if problems or checked < 100 else 0)


if __name__ == "__main__":
    main()
