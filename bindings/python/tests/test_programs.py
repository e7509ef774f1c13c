"""The console command, the example, and the code in the README."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import libmusig
from terminal import MUSIG, Program, run, write_keys
from wallet import ADDRESS, DESCRIPTOR, PSBT, TXID, esplora
from support import PATIENCE, REPOSITORY, key, key_path, keys, output_script, spend_script, until_now

def test_keys_and_elections(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    public = run("keygen", "--out", path).strip()
    assert path.stat().st_mode & 0o077 == 0
    assert libmusig.LocalSigner(bytes.fromhex(path.read_text().strip())).public_key() == public
    assert "exists" in run("keygen", "--out", path, expect=1)
    made = json.loads(run("aggregate", "--json", *keys(3)))
    assert made["aggregate_key"] == libmusig.aggregate_key(keys(3), libmusig.KeyOrder.SORTED)
    assert made["script_pubkey"] == "5120" + made["taproot_output_key"]
    assert made["xpub"] in run("aggregate", *keys(3))
    assert made["address"] == libmusig.address(libmusig.key_set(keys(3)), key_path(), libmusig.Network.MAINNET)
    child = json.loads(run("aggregate", "--json", "--path", "0/5", "--network", "regtest", *keys(3)))
    assert child["address"] == libmusig.address(libmusig.key_set(keys(3)), key_path(0, 5), libmusig.Network.REGTEST)
    assert child["script_pubkey"] == output_script(libmusig.key_set(keys(3)), key_path(0, 5)).hex()
    assert "hardened" in run("aggregate", "--path", "0h/5", *keys(3), expect=2)
    assert "hardened" in run("aggregate", "--path", str(1 << 31), *keys(3), expect=1)
    assert "signers 0 and 1" in run("aggregate", key(0), key(0), expect=1)
    found = json.loads(run("elect", "--json", "--method", "last-signer", *keys(3)))
    assert found["priority_list"] == [2, 1, 0] and found["method"] == "last-signer"
    assert "coordinator" in run("elect", *keys(3))
    assert "session" in run("elect", "--method", "session-salted", *keys(3), expect=1)
    installed = Path(sys.executable).with_name("musig")
    assert subprocess.run([installed, "--version"], capture_output=True, text=True).stdout.split()[0] == "musig"


def test_two_people_sign_between_two_terminals(tmp_path: Path) -> None:
    first, second = write_keys(tmp_path, 2)
    loopback = ("--listen", "/ip4/127.0.0.1/tcp/0")
    signers = [word for each in keys(2) for word in ("--signer", each)]
    ours = ("--key", first, "--store", tmp_path / "a.redb")
    theirs = ("--key", second, "--store", tmp_path / "b.redb")
    one = Program("propose", *ours, *loopback, *signers, "--text", "hello")
    try:
        peer = one.wait(r"^listening +(\S+)")
        session = one.wait(r"^proposed +(\S+)")
        two = Program("join", *theirs, *loopback, "--peer", peer, "--yes")
        try:
            signature = two.wait(r"^signature +(\S+)")
            assert one.wait(r"^signature +(\S+)") == signature and len(signature) == 128
            assert (one.process.wait(PATIENCE), two.process.wait(PATIENCE)) == (0, 0)
        finally:
            two.process.kill()
    finally:
        one.process.kill()
    assert session in run("status", *ours)
    status = json.loads(run("status", "--json", *theirs))
    assert (status["session"], status["phase"], status["own_index"]) == (session, "watching", 1)


def test_coins_of_a_derived_address(tmp_path: Path) -> None:
    first, second = write_keys(tmp_path, 2)
    key_set = libmusig.key_set(keys(2))
    coin = spend_script(output_script(key_set, key_path(0, 5)))
    loopback = ("--listen", "/ip4/127.0.0.1/tcp/0")
    signers = [word for each in keys(2) for word in ("--signer", each)]
    [spent] = coin["spent"]
    terms = ("--transaction", coin["transaction"].hex(), "--spent", f"{spent.value}:{spent.script.hex()}")
    ours = ("--key", first, "--store", tmp_path / "a.redb")
    one = Program("propose", *ours, *loopback, "--until", "complete", *signers, *terms, "--path", "0/4", "--path", "0/5")
    try:
        peer = one.wait(r"^listening +(\S+)")
        theirs = ("--key", second, "--store", tmp_path / "b.redb")
        two = Program("join", *theirs, *loopback, "--peer", peer, "--yes", "--until", "complete")
        try:
            # What somebody consents to is shown.
            assert two.wait(r"^key set 0: (.*)") == "the signers' keys, sorted"
            assert two.wait(r"^    signed by this session with .*[(](.*)[)]$") == "key set 0, path 0/5, BIP-341 without scripts"
            assert two.wait(r"^transaction +(\S+)") != ""
            assert (one.process.wait(PATIENCE), two.process.wait(PATIENCE)) == (0, 0)
        finally:
            two.process.kill()
    finally:
        one.process.kill()


def test_addresses_of_descriptors_and_psbts(tmp_path: Path) -> None:
    words = ("--descriptor", DESCRIPTOR, "--index", 3, "--network", "regtest")
    assert run("address", *words).strip() == ADDRESS
    made = json.loads(run("address", "--json", *words))
    assert made["address"] == ADDRESS and made["descriptor"].startswith(DESCRIPTOR + "#")
    assert "network" in run("address", *words[:-1], "mainnet", expect=1)
    file, raw = tmp_path / "spend.psbt", tmp_path / "spend.raw"
    file.write_text(PSBT + "\n")
    raw.write_bytes(libmusig.Psbt.from_base64(PSBT).to_bytes())
    text = run("psbt", "show", "--network", "regtest", file)
    assert TXID in text and "2 participants, 0 nonces, 0 partial signatures" in text and "fee        5000 sat" in text
    shown = json.loads(run("psbt", "show", "--json", raw))
    assert [each["to_sign"] for each in shown["inputs"]] == [True, True] and shown["txid"] == TXID
    assert run("psbt", "combine", file, raw).strip() == PSBT
    assert "nonce" in run("psbt", "finalize", file, expect=1)


def test_a_psbt_is_proposed_signed_and_broadcast_by_a_source(tmp_path: Path) -> None:
    first, second = write_keys(tmp_path, 2)
    file, out = tmp_path / "spend.psbt", tmp_path / "signed.psbt"
    file.write_text(PSBT)
    signers = [word for each in keys(2) for word in ("--signer", each)]
    with esplora(depth=6) as (url, submitted):
        common = ("--listen", "/ip4/127.0.0.1/tcp/0", "--source", f"esplora:{url}")
        ours = ("--key", first, "--store", tmp_path / "a.redb", *common)
        theirs = ("--key", second, "--store", tmp_path / "b.redb", *common)
        one = Program("propose", *ours, *signers, "--psbt", file, "--psbt-out", out)
        try:
            peer = one.wait(r"^listening +(\S+)")
            two = Program("join", *theirs, "--peer", peer, "--yes", "--network", "regtest")
            try:
                assert two.wait(r"^transaction +(\S+)") != ""
                for program in (one, two):
                    program.wait(r"^(broadcast-confirmed)")
                assert (one.process.wait(PATIENCE), two.process.wait(PATIENCE)) == (0, 0)
            finally:
                two.process.kill()
        finally:
            one.process.kill()
        assert len(submitted) == 1
    assert run("psbt", "finalize", "--extract", out).strip() == submitted[0].decode()
    wrong = ("--key", first, "--store", tmp_path / "c.redb", "--source", "pigeon:home")
    assert "pigeon:home" in run("propose", *wrong, *signers, "--psbt", file, expect=1)


def test_sessions_by_file(tmp_path: Path) -> None:
    first, second = write_keys(tmp_path, 2)
    ours = ("--key", first, "--store", tmp_path / "a.redb")
    theirs = ("--key", second, "--store", tmp_path / "b.redb")
    signers = [word for each in keys(2) for word in ("--signer", each)]
    one = Program("propose", *ours, "--listen", "/ip4/127.0.0.1/tcp/0", *signers, "--digest", "07" * 32)
    session = one.wait(r"^proposed +(\S+)")
    one.process.terminate()
    assert one.process.wait(PATIENCE) == 3
    file = tmp_path / "session"
    run("export", *ours, session, file)
    assert session in run("import", *theirs, "--join", file)
    run("export", *theirs, session, file)
    assert session in run("import", *ours, file)
    assert "unknown" in run("export", *ours, "ab" * 32, file, expect=1)


def test_a_node_prints_events_and_ends_when_asked(tmp_path: Path) -> None:
    [path] = write_keys(tmp_path, 1)
    node = Program("node", "--key", path, "--store", tmp_path / "a.redb", "--listen", "/ip4/127.0.0.1/tcp/0")
    assert node.wait(r"^signer key +(\S+)") == key(0)
    node.wait(r"^listening +(\S+)")
    node.process.terminate()
    assert node.process.wait(PATIENCE) == 0


def test_port_taken_ends_a_node_that_can_listen_nowhere(tmp_path: Path) -> None:
    [path] = write_keys(tmp_path, 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}"
        words = ("--key", path, "--store", tmp_path / "a.redb", "--listen", taken)
        done = subprocess.run([*MUSIG, "node", *map(str, words)], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 1 and "can listen nowhere" in done.stderr, done
        assert re.search(rf"^network-degraded .*cannot listen on {taken} .*in use", done.stdout, re.M), done
        # One that can be listened on is enough, and only what others can dial is shown.
        node = Program("node", *words, "--listen", "/ip4/127.0.0.1/tcp/0", "--json")
        assert re.fullmatch(r"/ip4/127\.0\.0\.1/tcp/[1-9]\d*/p2p/\w+", node.wait(r'"listening": "(\S+)"'))
        assert taken in node.wait(r"(.*network-degraded.*)")
        node.process.terminate()
        assert node.process.wait(PATIENCE) == 0


def test_metrics_match_at_a_socket_and_in_a_file(tmp_path: Path) -> None:
    [path] = write_keys(tmp_path, 1)
    file = tmp_path / "musig.prom"
    words = ("--key", path, "--store", tmp_path / "a.redb", "--listen", "/ip4/127.0.0.1/tcp/0")
    node = Program("node", *words, "--metrics", "127.0.0.1:0", "--metrics-file", file)
    try:
        address = node.wait(r"^metrics +(\S+)")
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            text = answer.read().decode()
        assert "\nmusig_sessions_completed_total 0\n" in text
        request = urllib.request.Request(address, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert answer.read().endswith(b"# EOF\n")
        for wrong, status in ((address + "/other", 404), (address.replace("/metrics", "/"), 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(wrong, timeout=PATIENCE)
            assert refused.value.code == status
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(address, data=b"x", timeout=PATIENCE)
        until_now("the file is there", file.exists)
        assert file.read_text().splitlines()[0] == text.splitlines()[0]
    finally:
        node.process.terminate()
    assert node.process.wait(PATIENCE) == 0
    assert "--metrics nowhere" in run("node", *words, "--metrics", "nowhere", expect=1)


def test_the_example() -> None:
    program = REPOSITORY / "examples/python/failover.py"
    chain = os.environ["MUSIG_CHAIN"]
    done = subprocess.run([chain, sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "\nthe backup broadcast it\n" in done.stdout
    assert done.stdout.count("confirmed") == 2 and done.stdout.endswith(", submitted 1 times\n")


def test_the_quick_start_of_the_readme(tmp_path: Path) -> None:
    text = (REPOSITORY / "bindings/python/README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 25
    program = tmp_path / "quick_start.py"
    program.write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "signature" in done.stdout
