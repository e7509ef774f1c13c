"""What the console command promises to operators."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import PATIENCE, key, keys, ranked, spend, until_now
from terminal import Program, Signer, run, signers
from wallet import PSBT, esplora


def transaction(count: int) -> list[object]:
    """Options that propose a transaction of the first test signers."""
    coin = spend(keys(count))
    [spent] = coin["spent"]
    return [*signers(count), "--transaction", coin["transaction"].hex(), "--spent", f"{spent.value}:{spent.script.hex()}"]


def test_until_final_a_backup_broadcasts_what_the_coordinator_cannot(tmp_path: Path) -> None:
    coordinator, backup = (Signer(tmp_path, index) for index in ranked(2))
    sent = tmp_path / "sent"
    fails = ("--broadcast-command", "echo the node is down >&2; exit 7")
    with Program("propose", *coordinator.network, *fails, *transaction(2)) as one:
        peer = one.wait(r"^listening +(\S+)")
        command = ("--broadcast-command", f"cat >> {sent}; echo >> {sent}")
        with Program("join", *backup.network, *command, "--peer", peer, "--yes") as two:
            assert two.end() == (0, "")
            assert "notified" in run("status", "--json", *backup.options)
            # What the command took is reported, so that nobody is alarmed, and it was submitted once.
            assert not [line for line in two.lines if "exhausted" in line]
            assert sent.read_text().split() == [two.wait(r"^transaction +(\S{100,})")]
            assert "ended with status 7: the node is down" in one.wait(r"^broadcaster-failed (.*)")
        one.process.terminate()
        status, words = one.end()
        assert status == 4 and "stopped while the session is complete, before it is final" in words


def test_until_final_says_by_its_exit_status_what_was_reached(tmp_path: Path) -> None:
    file = tmp_path / "spend.psbt"
    file.write_text(PSBT)

    def both(folder: str, depth: int, goal: str | None, seen: str) -> list[int]:
        """The exit statuses of two signers, who are stopped once they have seen that, if they have not ended."""
        (tmp_path / folder).mkdir()
        one, two = Signer(tmp_path / folder, 0), Signer(tmp_path / folder, 1)
        with esplora(depth) as (url, submitted):
            common = ("--source", f"esplora:{url}", *(("--until", goal) if goal else ()))
            with Program("propose", *one.network, *common, *signers(2), "--psbt", file) as first:
                peer = first.wait(r"^listening +(\S+)")
                with Program("join", *two.network, *common, "--peer", peer, "--yes") as second:
                    for program in (first, second):
                        program.wait(f"^({seen})")
                        if goal is None and depth < 6:
                            program.process.terminate()
                    statuses = [first.end()[0], second.end()[0]]
                    assert len(submitted) == (0 if goal == "complete" else 1)
                    return statuses

    assert both("final", 6, None, "broadcast-confirmed") == [0, 0]
    assert both("confirmed", 1, "confirmed", "broadcast-confirmed") == [0, 0]
    assert both("seen", 0, "seen", "broadcast-seen") == [0, 0]
    assert both("only-seen", 0, None, "broadcast-seen") == [5, 5]
    assert both("only-confirmed", 1, None, "broadcast-confirmed") == [6, 6]


def test_until_complete_is_enough_for_texts(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    with Program("propose", *one.network, *signers(2), "--text", "hello") as first:
        peer = first.wait(r"^listening +(\S+)")
        with Program("join", *two.network, "--peer", peer, "--yes") as second:
            assert (first.end(), second.end()) == ((0, ""), (0, ""))
    with Program("propose", *one.network, *signers(2), "--text", "again") as first:
        peer = first.wait(r"^listening +(\S+)")
        with Program("join", *two.network, "--peer", peer) as second:
            # Nobody answers: the end of the input is a no.
            assert second.end()[0] == 3
            status, words = first.end()
            assert status == 3 and "the session ended: declined" in words


def test_a_mistyped_store_is_an_error_and_not_made(tmp_path: Path) -> None:
    signer = Signer(tmp_path, 0)
    for command in (("status",), ("export", "ab" * 32, tmp_path / "out")):
        name, *rest = command
        assert f"--store: there is no file {signer.store}" in run(name, *signer.options, *rest, expect=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.key"]


def speak(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """What a node's control socket answers to these lines."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(b"".join(line + b"\n" for line in lines))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            return [json.loads(answer) for answer in answers]


def test_control_socket_speaks_to_a_running_node(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    sockets = [tmp_path / "own" / "a", tmp_path / "own" / "b"]
    at = [("--control", path) for path in sockets]
    sent = tmp_path / "sent"
    slow = ("--timeout", 3600)
    command = ("--broadcast-command", f"cat > {sent}.tmp; mv {sent}.tmp {sent}; echo done")
    coordinator = ranked(2)[0]
    with Program("node", *one.network, *at[0], *(command if coordinator == 1 else ())) as first:
        peer = first.wait(r"^listening +(\S+)")
        first.wait(r"^(control) ")
        assert sockets[0].stat().st_mode & 0o777 == 0o600 and sockets[0].parent.stat().st_mode & 0o777 == 0o700
        with Program("node", *two.network, *at[1], "--peer", peer, *(command if coordinator == 0 else ())) as second:
            second.wait(r"^(control) ")
            # Neither key nor store is needed, nor could the store be opened.
            with Program("propose", *at[0], *transaction(2), *slow, "--until", "complete") as proposing:
                session = proposing.wait(r"^proposed +(\S+)")
                assert f"session {session[:16]} has no signed" in run("tx", *at[0], session[:8], expect=1)
                with Program("join", *at[1], session[:8], "--yes", "--until", "complete") as joining:
                    assert (joining.end(), proposing.end()) == ((0, ""), (0, ""))
            spent, made = session, run("tx", *at[0], session).strip()
            assert json.loads(run("tx", "--json", *at[1], session))["transaction"] == made
            # The coordinator has no way to broadcast; the other one does it though its turn is an hour away.
            first_at, backup_at = (at[coordinator], at[1 - coordinator])
            assert "no --source and no --broadcast-command" in run("broadcast", *first_at, session, expect=1)
            assert not sent.exists()
            assert run("broadcast", *backup_at, session).split() == ["accepted"]
            assert sent.read_text() == made
            assert " final " in run("status", *backup_at, session)
            assert "watching" in run("status", *first_at)
            assert " final " in run("notify", *first_at, session)
            assert "musig_sessions_completed_total 1" in run("metrics", *first_at)
            file = tmp_path / "session"
            run("export", *at[0], session, file)
            assert session in run("import", *at[1], file)
            # Two more sessions: one is declined, one is aborted.
            for says, phase in (("decline", "declined"), ("abort", "aborted")):
                with Program("propose", *at[0], *signers(2), "--text", says, "--sign-blind") as proposing:
                    session = proposing.wait(r"^proposed +(\S+)")
                    until_now("it arrives", lambda: session in run("status", *at[1]))
                    assert phase in run(says, *at[1], session, "--reason", "not today")
                    status, words = proposing.end()
                    assert status == 3 and phase in words
            assert f"another node answers at {sockets[0]}" in run("node", *Signer(tmp_path, 2).network, *at[0], expect=1)
            second.process.terminate()
            assert second.end() == (0, "") and not sockets[1].exists()
        # Without the node the same commands open the store.
        assert f"no node answers at {sockets[1]}" in run("status", *at[1], expect=1)
        assert run("tx", *two.options, *at[1], spent).strip() == made
        first.process.kill()
    # A socket that was left behind is in nobody's way.
    with Program("node", *one.network, *at[0]) as first:
        first.wait(r"^(control) ")


def test_control_socket_refuses_what_is_no_request(tmp_path: Path) -> None:
    signer, path = Signer(tmp_path, 0), tmp_path / "own" / "socket"
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o755)
    assert "must be your own, with mode 700" in run("node", *signer.network, "--control", open_folder / "a", expect=1)
    open_folder.chmod(0o700)
    (open_folder / "file").touch()
    assert "is no socket" in run("node", *signer.network, "--control", open_folder / "file", expect=1)
    with Program("node", *signer.network, "--control", path) as node:
        node.wait(r"^(control) ")

        def code(line: bytes) -> int:
            [answer] = speak(path, line)
            assert answer["jsonrpc"] == "2.0"
            return int(answer["error"]["code"])

        def request(method: str, /, **parameters: Any) -> bytes:
            return json.dumps({"jsonrpc": "2.0", "id": 5, "method": method, "params": parameters}).encode()

        [hello] = speak(path, request("hello"))
        assert hello["id"] == 5 and hello["result"]["version"] == 1 and hello["result"]["signer_key"] == key(0)
        assert code(b"musig") == code(b"[" * 100_000) == -32700
        assert code(b"[]") == code(b"7") == code(b'{"id":1,"method":"hello"}') == -32600
        assert code(request("stop")) == code(request("__class__")) == -32601
        for wrong in ({}, {"session": 7}, {"session": ["a"]}, {"session": "ab" * 32, "more": 1}, {"session": "a" * 8, "host": 1}):
            assert code(request("tx", **wrong)) == -32602, wrong
        assert code(request("status", session="ab")) == code(request("status", session="ab" * 32)) == -32000
        proposal = {"signers": keys(2), "digests": ["07" * 32]}
        assert code(request("propose", **proposal, method="dice")) == -32602
        assert code(request("propose", **proposal, paths=[[-1]])) == -32000
        assert speak(path, b'{"jsonrpc":"2.0","method":"hello"}') == []
        # It still answers, and many at once are closed, not kept.
        assert len(speak(path, *[request("peers")] * 50)) == 50


def test_control_socket_is_its_users_own(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("it takes another user")
    signer, path = Signer(tmp_path, 0), tmp_path / "own" / "socket"
    with Program("node", *signer.network, "--control", path) as node:
        node.wait(r"^(control) ")
        # Somebody opens the folder, and another user comes.
        for folder in [path, *path.parents][: len(path.parents)]:
            folder.chmod(folder.stat().st_mode | (0o666 if folder == path else 0o111))
        hello = b'{"jsonrpc":"2.0","id":1,"method":"hello"}'
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            f"s.sendall({hello!r} + b'\\n'); print(s.recv(1000))"
        )
        other = subprocess.run(["python3", "-c", code, path], user=65534, capture_output=True, text=True, timeout=PATIENCE)
        assert other.stdout.strip() in ("", "b''") and "Permission" not in other.stderr, other
        assert speak(path, hello)[0]["result"]["signer_key"] == key(0)
