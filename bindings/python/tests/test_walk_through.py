"""The walk-throughs of the documents: two people in two terminals, and a real Bitcoin node on regtest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import PATIENCE, REPOSITORY, free_port

BITCOIN_CLI = '''#!{python}
"""What the walk-through needs of bitcoin-cli, by requests of its own."""
import base64, json, sys, urllib.request
method, *words = [word for word in sys.argv[1:] if word != "-regtest"]
def read(word):
    try:
        return json.loads(word)
    except ValueError:
        return word
body = json.dumps({{"method": method, "params": [read(word) for word in words]}}).encode()
request = urllib.request.Request("{node}", body)
login = base64.b64encode(open("{cookie}", "rb").read()).decode()
request.add_header("Authorization", f"Basic {{login}}")
answer = json.load(urllib.request.urlopen(request))["result"]
print(answer if isinstance(answer, str) else json.dumps(answer, indent=2))
'''


SHOP = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
"""Somebody else's address, of BIP-173's example."""


def lines_of(document: str) -> list[tuple[str, str]]:
    """Who types what."""
    block = re.search(r"```text\n(alice\$ .*?)```", (REPOSITORY / document).read_text(), re.S)
    assert block is not None, f"{document} has a walk-through"
    joined = re.sub(r"\\\n\s+", "", block[1])
    typed = [re.fullmatch(r"(alice|bob|node)\$ +(.*)", line) for line in joined.splitlines()]
    assert all(typed), joined
    return [(match[1], match[2]) for match in typed if match]


def script(document: str) -> str:
    """One that does all of it: the long commands beside each other, the last line once the transaction is in the mempool."""
    *lines, last = lines_of(document)
    assert last[0] == "node" and "generatetoaddress 6" in last[1]
    made, running = ["set -eu"], []
    for who, command in lines:
        if command.startswith(("musig propose", "musig join")):
            running.append(who)
            made.append(f"echo y | {command} >{who}.out 2>{who}.err & {who}=$!")
        else:
            made.append(command)
    made.append("until bitcoin-cli -regtest getrawmempool | grep -q '\"'; do kill -0 $alice $bob; sleep 0.1; done")
    made += [last[1], *(f"wait ${who}" for who in running)]
    assert running == ["alice", "bob"]
    return "\n".join(made)


def test_two_people_in_two_terminals_spend_a_coin_of_a_real_node(tmp_path: Path) -> None:
    bob = walk_through(tmp_path, "README.md")
    assert "your own" not in bob


def test_two_people_make_a_group_and_spend_its_coin_by_psbt(tmp_path: Path) -> None:
    bob = walk_through(tmp_path, "docs/bitcoin.md")
    # His wallet knows the coin, and the change.
    assert bob.count(", your own") == 1 and bob.count(", back to yourself") == 1 and SHOP in bob, bob


def walk_through(tmp_path: Path, name: str) -> str:
    """Runs a document's lines. Answers what Bob was shown."""
    fetched = subprocess.run([REPOSITORY / "tests/bitcoin/fetch.sh"], capture_output=True, text=True)
    if fetched.returncode != 0:
        if os.environ.get("MUSIG_REQUIRE_ALL") == "1":
            pytest.fail(fetched.stderr)
        print(f"SKIPPED {name}: {fetched.stderr.strip()}")
        pytest.skip(fetched.stderr.strip())
    port, cookie = free_port(), tmp_path / "node/regtest/.cookie"
    (tmp_path / "node").mkdir()
    cli = tmp_path / "bin/bitcoin-cli"
    cli.parent.mkdir()
    node = f"http://127.0.0.1:{port}"
    cli.write_text(BITCOIN_CLI.format(python=sys.executable, node=node, cookie=cookie))
    cli.chmod(0o755)
    options = ["-regtest", f"-datadir={tmp_path / 'node'}", f"-rpcport={port}", "-server", "-listen=0", "-disablewallet"]
    bitcoind = subprocess.Popen(
        [fetched.stdout.strip(), *options, "-dnsseed=0", "-fixedseeds=0", "-connect=0", "-printtoconsole=0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        path = os.pathsep.join([str(cli.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "NODE": node, "COOKIE": str(cookie), "SHOP": SHOP, "HOME": str(tmp_path)}
        environment = {**os.environ, **own}
        until = time.monotonic() + PATIENCE
        while subprocess.run(["bitcoin-cli", "getblockcount"], env=environment, capture_output=True).returncode != 0:
            assert bitcoind.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        text = script(name).replace("tcp/4001", f"tcp/{free_port()}")
        done = subprocess.run(
            ["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE
        )
        outputs = {file.name: file.read_text() for file in tmp_path.iterdir() if file.suffix in (".out", ".err")}
        assert done.returncode == 0, (text, done.stdout, done.stderr, outputs)
        # Bob was shown what he signed; the transaction is in a block, as the node says itself.
        assert "bcrt1p" in outputs["bob.out"] and "fee" in outputs["bob.out"], outputs
        ask = ["bitcoin-cli", "getrawmempool"]
        assert subprocess.run(ask, env=environment, capture_output=True, text=True).stdout.strip() == "[]"
        for out in (outputs["alice.out"], outputs["bob.out"]):
            assert "broadcast-confirmed" in out, out
        return outputs["bob.out"]
    finally:
        bitcoind.kill()
        bitcoind.wait()
