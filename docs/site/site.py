#!/usr/bin/env python3
"""The pages of the documentation that are not a tool's: the landing page and the guides, from the Markdown of the
repository. `site.py OUT` writes them; `site.py --mend OUT` has the links of rustdoc's pages lead there; `site.py --check OUT`
follows every link of every page.

A guide keeps its path: docs/mobile.md is guide/docs/mobile.html. What a guide links to beside guides is copied.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# The order of the landing page. Every document of the repository is here, or `make lint` fails.
START = [
    ("README.md", "What it is, and two people who spend a coin"),
    ("examples/README.md", "The same program in every language"),
    ("bindings/python/README.md", "Python, and the command <code>musig</code>"),
    ("bindings/kotlin/README.md", "Kotlin and Android"),
    ("bindings/swift/README.md", "Swift, iOS and macOS"),
    ("docs/c-api.md", "C and C++"),
]
GUIDES = [
    ("docs/bitcoin.md", "Transactions, PSBTs, wallets, ways to the chain"),
    ("docs/operations.md", "Configuration, relays, what to do when something is late"),
    ("docs/monitoring.md", "Metrics, alerts, the log, traces"),
    ("docs/mobile.md", "On phones: the background, keys, backups"),
    ("docs/errors.md", "Every error: its cause, and what to do"),
    ("docs/compatibility.md", "What keeps working with newer versions"),
    ("docs/migrating.md", "What is called otherwise here"),
    ("docs/interop.md", "Nodes of several languages in one session"),
    ("docs/security.md", "What attackers can do, and what it costs"),
    ("docs/protocol.md", "The protocol, message by message"),
    ("docs/simulation.md", "How the simulator looks for broken promises"),
    ("docs/simulation-report.md", "Measured: how fast a failover is"),
    ("docs/performance.md", "Measured: speed, memory, disk"),
    ("docs/releasing.md", "How a release is made"),
    ("ARCHITECTURE.md", "How the code is built"),
    ("CONTRIBUTING.md", "How to change it"),
    ("SECURITY.md", "How to report a vulnerability"),
    ("CHANGELOG.md", "What changed"),
    ("tests/README.md", "The tests, file by file"),
]
REFERENCES = [
    ("rust/libmusig/index.html", "Rust", "rustdoc"),
    ("c/musig_8h.html", "C and C++", "musig.h and musig.hpp"),
    ("python/libmusig.html", "Python", "the package libmusig"),
    ("kotlin/index.html", "Kotlin", "org.libmusig and org.libmusig.ffi"),
]
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 60rem; }
nav { border-bottom: 1px solid var(--line); padding-bottom: .6rem; margin-bottom: 1.5rem; }
code, pre { font: .9em/1.45 ui-monospace, monospace; } code { background: var(--soft); padding: 0 .2em; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; } pre code { background: none; padding: 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
img { max-width: 100%; } h1, h2, h3 { line-height: 1.25; } a { text-underline-offset: .15em; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .8rem; padding: 0; list-style: none; }
.cards a { display: block; border: 1px solid var(--line); border-radius: .4rem; padding: .7rem; text-decoration: none; }
.cards small { display: block; opacity: .75; }
"""


def page(title, top, body):
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body>
<nav><a href="{top}index.html">libmusig</a></nav>
{body}</body>
</html>
"""


def slug(text, taken):
    """The name that repositories' web pages give a heading."""
    name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
    count = taken.get(name, 0)
    taken[name] = count + 1
    return f"{name}-{count}" if count else name


def convert(markdown, text):
    """The HTML of a document, and its title. Headings get names to link to."""
    tokens, taken, title = markdown.parse(text), {}, None
    for token, inline in zip(tokens, tokens[1:]):
        if token.type == "heading_open":
            words = "".join(child.content for child in inline.children if child.type in ("text", "code_inline"))
            token.attrSet("id", slug(words, taken))
            title = title or words
    return markdown.renderer.render(tokens, markdown.options, {}), title


def copy(source, guide):
    """Where a file or folder that is no guide lies in the site. Browsers show text, and download code."""
    if source.is_dir():
        files = subprocess.run(["git", "ls-files", "--", str(source)], check=True, stdout=subprocess.PIPE, text=True)
        links = [(name, copy(Path(name), guide)) for name in files.stdout.splitlines()]
        target = guide / source / "index.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f'<li><a href="{os.path.relpath(link, target.parent)}">{html.escape(name)}</a></li>\n'
                       for name, link in links)
        target.write_text(page(str(source), os.path.relpath(guide.parent, target.parent) + "/", f"<ul>\n{rows}</ul>\n"))
        return target
    shown = source.suffix in (".svg", ".png", ".html")
    target = guide / (source if shown else f"{source}.txt")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def mend(out):
    """The crate's page has the README's links, which are those of the repository; other crates' words have links of theirs."""
    guide, documents = out / "guide", [name for name, _ in START + GUIDES]
    for path in (out / "rust").rglob("*.html"):
        def link(match):
            address, _, fragment = html.unescape(match.group(1)).partition("#")
            if not address or re.match(r"[a-z]+:", address) or (path.parent / unquote(address)).exists():
                return match.group(0)
            if address in documents:
                there = (guide / address).with_suffix(".html")
            elif os.path.exists(address):
                there = copy(Path(address), guide)
            else:
                return ""
            return f'href="{os.path.relpath(there, path.parent)}{"#" + fragment if fragment else ""}"'

        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'\bhref="([^"]*)"', link, text), encoding="utf-8")


def write(out):
    from markdown_it import MarkdownIt

    guide = out / "guide"
    shutil.rmtree(guide, ignore_errors=True)
    documents = [name for name, _ in START + GUIDES]
    for name in documents:
        target = (guide / name).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)

        def link(match):
            address = html.unescape(match.group(2))
            path, _, fragment = address.partition("#")
            if not path or re.match(r"[a-z]+:", path):
                return match.group(0)
            source = Path(os.path.normpath(Path(name).parent / path))
            if str(source) in documents:
                there = (guide / source).with_suffix(".html")
            else:
                there = copy(source, guide)
            address = os.path.relpath(there, target.parent) + (f"#{fragment}" if fragment else "")
            return f'{match.group(1)}="{html.escape(address)}"'

        body, title = convert(MarkdownIt("commonmark").enable("table"), Path(name).read_text(encoding="utf-8"))
        body = re.sub(r'\b(href|src)="([^"]*)"', link, body)
        target.write_text(page(title or name, os.path.relpath(out, target.parent) + "/", body), encoding="utf-8")

    def cards(items):
        return "".join(f'<li><a href="{address}">{title}<small>{words}</small></a></li>\n' for address, title, words in items)

    def guides(names):
        titles = ((name, re.search(r"^# (.*)$", Path(name).read_text(encoding="utf-8"), flags=re.M).group(1), words)
                  for name, words in names)
        return cards((f"guide/{name.removesuffix('.md')}.html", html.escape(title), words) for name, title, words in titles)

    version = re.search(r'^version = "(.*)"$', Path("Cargo.toml").read_text(), flags=re.M).group(1)
    body = f"""<h1>libmusig {version}</h1>
<p>Several people sign one transaction together, and it gets broadcast: MuSig2 over libp2p, with an elected coordinator that can
neither censor nor lose the transaction.</p>
<h2>Start</h2>
<ul class="cards">
{guides(START)}</ul>
<h2>References</h2>
<ul class="cards">
{cards(REFERENCES)}</ul>
<p>Swift has the names of Kotlin; its package is documented in the source that <code>bindings/swift/generate.sh</code> writes.</p>
<h2>Guides</h2>
<ul class="cards">
{guides(GUIDES)}</ul>
"""
    (out / "index.html").write_text(page("libmusig", "", body), encoding="utf-8")


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.targets, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.names.add(value)
            if value and ((name == "src" and tag != "script") or (name == "href" and tag in ("a", "area", "link"))):
                self.targets.append(value)


def check(out):
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in out.rglob("*.html")}
    problems, checked = [], 0
    for needed in ["index.html", *(address for address, _, _ in REFERENCES)]:
        if out / needed not in pages:
            problems.append(f"{needed} is not there")
    for path, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target.startswith("javascript:"):
                continue
            there = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            checked += 1
            if there.is_dir():
                there /= "index.html"
            if not there.exists():
                problems.append(f"{path.relative_to(out)} links to {target}, which does not exist")
            # The tools' own pages make names by script.
            elif parts.fragment and there in pages and (path.parent == out or out / "guide" in path.parents):
                if unquote(parts.fragment) not in pages[there].names:
                    problems.append(f"{path.relative_to(out)} links to {target}, which has no such heading")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{checked} links on {len(pages)} pages")
    return not problems and checked > 0


def main():
    if sys.argv[1:2] == ["--check"]:
        sys.exit(not check(Path(sys.argv[2])))
    if sys.argv[1:2] == ["--mend"]:
        mend(Path(sys.argv[2]))
    else:
        write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
