"""What the console command promises to operators."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from libmusig import Evidence, FailureCause, StoreProblem, errors, events
from libmusig._ffi import musig as generated
from libmusig.cli.operations import OPERATIONS
from libmusig.cli.output import event_record, plain, words_of
from libmusig.cli.progress import WHY, countdown, progress, turns_ahead
from libmusig.cli.secret import seal, unseal
from support import PATIENCE, key, keys, ranked, spend, until_now
from terminal import MUSIG, Program, Signer, Terminal, run, signers
from wallet import PSBT, esplora

SEALED_SEVENS = (
    "musig-sealed-1 01010101010101010101010101010101 "
    "bee0936c3aab501168377b97f7981e53f5ad0d1ef63c91d6f93ebab658b70ff160a5dd65110b1c0804712343f13e07cf"
)
"""The bytes 7, with the passphrase `a`."""


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

    cases: list[tuple[str, int, str | None, str]] = [
        ("final", 6, None, "broadcast-confirmed"),
        ("confirmed", 1, "confirmed", "broadcast-confirmed"),
        ("seen", 0, "seen", "broadcast-seen"),
        ("only-seen", 0, None, "broadcast-seen"),
        ("only-confirmed", 1, None, "broadcast-confirmed"),
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        assert [*pool.map(lambda case: both(*case), cases)] == [[0, 0], [0, 0], [0, 0], [5, 5], [6, 6]]


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
            shown = run("status", *first_at)
            assert "watching" in shown
            # The next turn is ahead, and why.
            assert re.search(r"turn 1, \S+, in 59:\d\d, when this signer has had its whole time", shown), shown
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


def test_ctrl_c_at_a_question_is_a_no(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    for answer, status in (("\x03", 3), ("yes\r", 0)):
        with Program("propose", *one.network, *signers(2), "--text", answer) as first:
            peer = first.wait(r"^listening +(\S+)")
            with Terminal("join", *two.network, "--peer", peer) as second:
                second.wait(r"sign this\? \[y/N\] ")
                second.press(answer)
                assert second.process.wait(PATIENCE) == status, second.text
                assert first.end()[0] == status


def test_progress_at_a_terminal_and_in_a_pipe(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, ranked(2)[0]), Signer(tmp_path, ranked(2)[1])
    (tmp_path / "musig.toml").write_text(f'[contacts]\nbob = "{key(ranked(2)[1])}"\n')
    names = {"XDG_CONFIG_HOME": str(tmp_path)}
    with Terminal("propose", *one.network, *transaction(2), "--timeout", 3600, **names) as first:
        peer = first.wait(r"listening +(\S+)")
        first.wait("\r\x1b\\[K\x1b\\[33mconsent 1 of 2, waiting for bob\x1b\\[0m")
        with Program("join", *two.network, "--peer", peer, "--yes") as second:
            # It counts down at the terminal, in the same line, and only there.
            first.wait("\r\x1b\\[K\x1b\\[33mturn 0: this signer to broadcast, next turn in 59:5[0-9]")
            first.wait("next turn in (59:[0-9]+)[^?]*\r\x1b\\[K[^?]*next turn in (?!\\1)59:")
            turn = second.wait("^progress +(turn 0: .*)$")
            assert turn == f"turn 0: {key(ranked(2)[0])[:8]}… to broadcast"
            assert not [line for line in second.lines if "\x1b" in line or "next turn" in line]
            assert len([line for line in second.lines if line.startswith("progress")]) <= 4
            first.press("\x03")
            assert first.process.wait(PATIENCE) == 4
            # The last thing that was written is no progress.
            assert "stopped while the session is complete" in first.text.rsplit("\x1b[K", 1)[1]
    (tmp_path / "plain").mkdir()
    other = Signer(tmp_path / "plain", ranked(2)[0])
    with Terminal("propose", *other.network, *signers(2), "--text", "a", NO_COLOR="1", **names) as first:
        first.wait("\r\x1b\\[Kconsent 1 of 2, waiting for bob")
        assert "\x1b[3" not in first.text


def test_progress_of_rounds_names_who_is_waited_for() -> None:
    names = {0: "this signer", 1: "bob", 2: "carol"}.__getitem__
    status = {"phase": "joined", "signers": [1, 2, 3], "accepted": [0, 2], "missing": [1], "failover": None}
    assert progress(status, names) == "consent 2 of 3, waiting for bob"
    status["accepted"] = [0, 1, 2]
    assert progress(status, names) == "nonces 2 of 3, waiting for bob"
    status |= {"phase": "signing", "missing": [1, 2]}
    assert progress(status, names) == "signatures 1 of 3, waiting for bob and carol"
    evidence = {"kind": "submitted"}
    watch = {"turn": 1, "current": [0, 2], "submissions": 2, "evidence": evidence, "until_next_turn": 272.4}
    status |= {"phase": "watching", "missing": [], "failover": watch}
    assert progress(status, names) == "turn 1: this signer and carol to broadcast, submitted 2 times from here"
    assert countdown(status) == ", next turn in 4:32"
    # Of the turns that are ahead: when each opens, and why then.
    now = datetime(2026, 12, 1, 12, 0, tzinfo=timezone.utc)
    turns = [(0, 0, 14.0, "pace", None), (1, 0, 0.0, "gone", None), (2, 1, 300.0, "timeout", 9)]
    watch["signers"] = [
        {"signer": signer, "turn": turn, "connected": True, "holds": True, "wait": wait, "cause": cause}
        | {"opens_at": opens and (now + timedelta(seconds=opens)).isoformat()}
        for signer, turn, wait, cause, opens in turns
    ]
    [line] = turns_ahead(status, names, now)
    assert line == "turn 1, carol, in 0:09, when this signer takes longer than a broadcast takes here"
    watch["signers"][0] |= {"wait": 0.0, "cause": "nack"}
    assert turns_ahead(status, names, now)[0].endswith(", when this signer cannot reach its Bitcoin backend")
    assert set(WHY) == {words_of(cause.name) for cause in FailureCause}
    watch["evidence"] = {"kind": "confirmed", "height": 7, "confirmations": 2}
    assert progress(status, names) == "the transaction has 2 confirmations" and countdown(status) == ""
    assert progress(status | {"phase": "final"}, names) is None


def test_names_for_keys_and_signers(tmp_path: Path) -> None:
    signer = Signer(tmp_path, 0)
    file = tmp_path / "musig.toml"

    def with_names(*words: object, expect: int = 0, **more: str) -> str:
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), **more}
        done = subprocess.run([*MUSIG, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE, env=environment)
        assert done.returncode == expect, done
        assert len(done.stderr.splitlines()) == (expect != 0), done
        return done.stdout if expect == 0 else done.stderr

    file.write_text(f'[keys.alice]\nkey = "0.key"\nstore = "0.redb"\n[contacts]\nbob = "{key(1).upper()}"\n')
    assert with_names("pubkey", "--key", "alice").strip() == key(0) == run("pubkey", *signer.options[:2]).strip()
    assert with_names("pubkey", MUSIG_KEY="alice").strip() == key(0)
    assert with_names("elect", key(0), "bob") == run("elect", key(0), key(1))
    assert f"--store: there is no file {signer.store}" in with_names("status", MUSIG_KEY="alice", expect=1)
    assert "--signer carol: neither a public key" in with_names(
        "propose", "--key", "alice", "--signer", "carol", "--text", "a", expect=1
    )
    wrong = {
        "[keys.a]\nstore = 'a'": "keys.a has no `key`",
        "[keys.a]\nkey = 'a'\nstor = 'b'": "keys.a.stor is not known",
        "[keys.a]\nkey = 'a'\npeers = 'b'": "keys.a.peers must be a list of texts",
        "[contacts]\nbob = '02'": "contacts.bob must be a public key",
        "[friends]": "friends is not known",
        "[": "musig.toml: ",
    }
    for text, words in wrong.items():
        file.write_text(text)
        assert words in with_names("pubkey", "--key", "a", expect=1)


def test_errors_are_one_line_that_names_the_option(tmp_path: Path) -> None:
    signer, other = Signer(tmp_path, 0), tmp_path / "other"
    other.write_text("no key\n")
    other.chmod(0o600)
    node = ("node", *signer.network)
    new = ("propose", *signer.network, *signers(2))
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (1, "--key", ("status", "--store", signer.store)),
        (1, f"--key {tmp_path}/none", ("pubkey", "--key", tmp_path / "none")),
        (1, f"--key {other}", ("pubkey", "--key", other)),
        (1, "--store", ("status", *signer.options[:2])),
        (1, f"--store {other}", ("status", *signer.options[:2], "--store", other)),
        (1, "--listen here", (*node, "--listen", "here")),
        (1, "--peer there", (*node, "--peer", "there")),
        (1, "--source core:there", (*node, "--source", "core:there")),
        (1, "--source", (*node, "--source", "pigeon:home")),
        (1, "--metrics nowhere", (*node, "--metrics", "nowhere")),
        (1, "--control", (*node, "--control", tmp_path / "none" / "more" / "socket")),
        (2, "--digest", (*new, "--digest", "07")),
        (2, "--transaction", (*new, "--transaction", "xyz")),
        (2, "--spent", (*new, "--spent", "many:00")),
        (2, "--timeout", (*new, "--timeout", "-1", "--text", "a")),
        (2, "--until", (*new, "--until", "dawn", "--text", "a")),
        (2, "--signer", ("propose", *signer.network)),
        (2, "--out", ("keygen",)),
    ]
    for status, names, words in cases:
        [line] = run(*words, expect=status).splitlines()
        assert line.startswith("musig") and names in line, line
    file = signer.options[1]
    assert isinstance(file, Path)
    file.chmod(0o644)
    done = subprocess.run([*MUSIG, "pubkey", "--key", str(file)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout.strip() == key(0) and "chmod 600" in done.stderr


def test_sessions_are_named_by_their_first_digits_if_that_is_unique(tmp_path: Path) -> None:
    signer = Signer(tmp_path, 0)
    with Program("node", *signer.network, "--control", tmp_path / "own" / "a") as node:
        node.wait(r"^(control) ")

        def ask(method: str, **parameters: Any) -> Any:
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
            [answer] = speak(tmp_path / "own" / "a", json.dumps(request).encode())
            return answer.get("result", answer.get("error", {}).get("message"))

        # A name stands for the socket, too.
        names = '[keys.alice]\nkey = "0.key"\ncontrol = "own/a"\n'
        (tmp_path / "musig.toml").write_text(names)
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "MUSIG_KEY": "alice"}
        done = subprocess.run([*MUSIG, "metrics"], capture_output=True, text=True, timeout=PATIENCE, env=environment)
        assert "musig_sessions_completed_total 0" in done.stdout, done
        assert "is in use; stop the other node first" in run("status", *signer.options, expect=1)
        assert "ask that by --control" in run("status", *signer.options, expect=1)
        made: list[str] = []
        # Until two begin with the same two digits, which is soon.
        while len({each[:1] for each in made}) == len(made):
            number = len(made).to_bytes(32, "big").hex()
            made.append(ask("propose", signers=keys(2), digests=[number], sign_blind=True))
        assert all(ask("status", session=each[:12])["session"] == each for each in made)
        assert "too short" in ask("status", session=made[0][:3])
        assert "no sessions begin with ffffffff" in ask("status", session="ffffffff")


def test_json_has_all_variants() -> None:
    module = vars(generated)
    assert len(events.__all__) > 30

    def samples(hint: Any) -> list[Any]:
        """Values of a type: each variant, None, a list of each."""
        parts = typing.get_args(hint)
        if typing.get_origin(hint) is list:
            return [[each] for each in samples(parts[0])]
        if typing.get_origin(hint) is typing.Union:
            return [value for part in parts for value in samples(part)]
        simple = {int: 7, str: "a", bool: True, bytes: b"\x07", type(None): None, float: 0.5}
        if hint in simple:
            return [simple[hint]]
        if hint is datetime:
            return [datetime(2026, 1, 2, tzinfo=timezone.utc)]
        if hint is timedelta:
            return [timedelta(seconds=90)]
        if issubclass(hint, Enum):
            return list(hint)
        variants = [each for name, each in vars(hint).items() if name.isupper() and isinstance(each, type)]
        return [value for kind in variants or [hint] for value in records(kind)]

    def records(kind: type) -> list[Any]:
        """Values of a record: each value of a field beside the first ones of the others."""
        made = next(each for each in kind.__mro__ if "__init__" in vars(each) or each is object)
        if made is object or not inspect.signature(made).parameters:
            return [kind()]
        hints = typing.get_type_hints(made.__init__, module)
        choices = {name: samples(hints[name]) for name in inspect.signature(made).parameters}
        first = {name: values[0] for name, values in choices.items()}
        return [kind(**{**first, name: value}) for name, values in choices.items() for value in values]

    count = 0
    for name in events.__all__:
        kind = getattr(events, name)
        for value in records(kind) if isinstance(kind, type) else []:
            event = SimpleNamespace(data=value, session="ab" * 32, durable=True)
            text = json.dumps(event_record(event))  # type: ignore[arg-type]
            assert "object at" not in text and json.loads(text)["event"] == words_of(name)
            count += 1
    assert count > 100
    assert plain(Evidence.SEEN()) == {"kind": "seen"} and plain(Evidence.NOTHING()) == {"kind": "nothing"}
    assert plain(Evidence.CONFIRMED(7, 2)) == {"kind": "confirmed", "height": 7, "confirmations": 2}


def test_json_is_json_lines_and_nothing_else(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    with Program("propose", *one.network, *transaction(2), "--until", "complete", "--json") as first:
        peer = first.wait(r'^{"listening": "(\S+)"}')
        with Program("join", *two.network, "--peer", peer, "--yes", "--json", "--until", "complete") as second:
            assert (first.end(), second.end()) == ((0, ""), (0, ""))
    session = json.loads(first.wait('(.*"proposed".*)'))["proposed"]
    lines = first.lines + second.lines
    for command in (("status",), ("tx", session), ("metrics",), ("export", session, tmp_path / "out"), ("notify", session)):
        lines += run(command[0], *one.options, "--json", *command[1:]).splitlines()
    names: set[str] = set()
    for line in lines:
        record = json.loads(line)
        assert isinstance(record, dict), line
        names |= set(record)
    assert {"signer_key", "listening", "proposed", "event", "summary", "signature", "transaction", "phase", "progress"} <= names


def test_the_log_is_on_if_it_is_asked_for(tmp_path: Path) -> None:
    signer = Signer(tmp_path, 0)
    said = []
    for words in ((), ("-v",), ("-vv",)):
        with Program("node", *signer.network, *words) as node:
            node.wait(r"^listening +(\S+)")
            node.process.terminate()
            said.append(node.end()[1])
    assert said[0] == "" and " DEBUG " not in said[1] and " DEBUG " in said[2], said
    assert "libmusig" in said[2]


def test_completion_in_a_shell(tmp_path: Path) -> None:
    script = run("completion")
    asked = """
t() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _musig; echo "${COMPREPLY[@]}"; }
t musig pr; t musig node --met; t musig psbt fin; t musig psbt finalize --ex; t musig join --until c"""
    done = subprocess.run(["bash", "-c", script + asked], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert done.stdout.splitlines() == ["propose", "--metrics --metrics-file", "finalize", "--extract", "complete confirmed"], done


def test_top_shows_a_node_as_it_is_now(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    (tmp_path / "musig.toml").write_text(f'[contacts]\nbob = "{key(1)}"\n')
    names = {"XDG_CONFIG_HOME": str(tmp_path)}
    at = ("--control", tmp_path / "own" / "a")
    with Program("node", *one.network, *at) as node:
        peer = node.wait(r"^listening +(\S+)")
        node.wait(r"^(control) ")
        with Terminal("top", *at, **names) as top, Terminal("top", *at) as another:
            top.wait("nobody")
            with Program("propose", *at, *signers(2), "--text", "a") as proposing:
                session = proposing.wait(r"^proposed +(\S+)")
                top.wait(f"{session[:12]}.*proposed|{session[:12]}.*joined")
                top.wait("consent 1 of 2, waiting for bob")
                top.wait(f"session-created +(?:\x1b\\[0m)?{session[:12]}")
                assert "nobody" in run("top", *at) and session[:12] in run("top", *at)
                [shown] = json.loads(run("top", "--json", *at))["sessions"]
                assert shown["session"] == session
            with Program("node", *two.network, "--peer", peer):
                top.wait("connected .*bob")
                top.wait("peer-connected")
            for program, end in ((top, "q"), (another, "\x03")):
                program.press(end)
                assert program.process.wait(PATIENCE) == 0, program.text
        with Terminal("top", *at) as top:
            top.wait("bob|nobody")
            node.process.terminate()
            assert top.process.wait(PATIENCE) == 1
            top.wait("musig: the node closed its control socket")


def test_a_node_ends_when_nobody_reads_it_any_more(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    with Program("node", *one.network) as node:
        peer = node.wait(r"^listening +(\S+)")
        node.stops_reading = True
        # It has something to say: somebody comes.
        with Program("propose", *two.network, "--peer", peer, *signers(2), "--text", "a"):
            status, words = node.end()
            assert status == 1 and "Broken pipe" in words


def test_emergency_procedure_by_the_command_line(tmp_path: Path) -> None:
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    cut = ("--broadcast-command", "echo no route to host >&2; exit 1")
    at = [("--control", tmp_path / "own" / "a"), ("--control", tmp_path / "own" / "b")]
    with Program("node", *one.network, *cut, *at[0]) as first:
        peer = first.wait(r"^listening +(\S+)")
        first.wait(r"^(control) ")
        with Program("node", *two.network, *cut, *at[1], "--peer", peer) as second:
            second.wait(r"^(control) ")
            with Program("propose", *at[0], *transaction(2), "--timeout", 1) as proposing:
                session = proposing.wait(r"^proposed +(\S+)")
                run("join", *at[1], session[:8], "--yes", "--until", "complete")
                first.wait("^(failover-exhausted|nobody-can-broadcast)")
                # The transaction, to be submitted on any machine; the own node still cannot, and says why.
                assert run("tx", *at[0], session).strip().startswith("02000000")
                assert "no route to host" in first.wait("^(broadcaster-failed .*)")
                with pytest.raises(AssertionError, match="unreachable.*no route to host"):
                    run("broadcast", *at[0], session)
                # It was submitted elsewhere: each signer is told, and what was said is kept.
                assert all(" final " in run("notify", *each, session) for each in at)
                assert proposing.end() == (0, "")
            run("export", *at[0], session, tmp_path / "inquiry")
            assert (tmp_path / "inquiry").stat().st_size > 0


def test_two_folders_that_are_copied_by_hand(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    at = [("--control", tmp_path / "own" / name) for name in "ab"]
    nodes = []
    for index, folder in enumerate(folders):
        folder.mkdir()
        nodes.append(("node", *Signer(tmp_path, index).options, "--offline", "--drop", folder, *at[index]))
    assert f"--drop {tmp_path}/none" in run(*nodes[0], "--drop", tmp_path / "none", expect=1)

    def copied(done: Callable[[], bool]) -> bool:
        """Copies what is new in each folder to the other one, until that is done."""
        for here, there in (folders, folders[::-1]):
            for file in here.glob("*.musig"):
                other = there / file.name
                if not other.exists() or other.stat().st_mtime_ns < file.stat().st_mtime_ns:
                    shutil.copy2(file, other)
        return done()

    with Program(*nodes[0]) as first, Program(*nodes[1]) as second:
        for program in (first, second):
            program.wait("^(exchanging)")
        (folders[1] / "junk.musig").write_bytes(b"junk")
        with Program("propose", *at[0], *signers(2), "--text", "a", "--until", "complete") as proposing:
            session = proposing.wait(r"^proposed +(\S+)")
            until_now("it arrives", lambda: copied(lambda: session in run("status", *at[1])))
            with Program("join", *at[1], session, "--yes", "--until", "complete") as joining:
                until_now("it is signed", lambda: copied(lambda: None not in (proposing.process.poll(), joining.process.poll())))
                assert (proposing.end(), joining.end()) == ((0, ""), (0, ""))
                assert proposing.wait(r"^signature +(\S+)") == joining.wait(r"^signature +(\S+)")
        for program in (first, second):
            program.process.terminate()
        ends = [program.end() for program in (first, second)]
        assert [status for status, _ in ends] == [0, 0]
        # What is no session is refused once, and stops nothing.
        assert [words.count("junk.musig was not taken") for _, words in ends] == [1, 1], ends
    # Nothing half written is left.
    assert {path.suffix for folder in folders for path in folder.iterdir()} == {".musig"}


def test_keys_with_a_passphrase(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    file, words = tmp_path / "sealed.key", tmp_path / "words"
    with Terminal("keygen", "--out", file, "--passphrase") as program:
        for question in ("passphrase of .*: $", "once more: $"):
            program.wait(question)
            program.press("föhn\r")
        assert program.process.wait(PATIENCE) == 0, program.text
        public = program.wait("(0[23][0-9a-f]{64})")
        assert "föhn" not in program.text
    assert file.stat().st_mode & 0o077 == 0 and re.fullmatch("musig-sealed-1 [0-9a-f]{32} [0-9a-f]{96}\n", file.read_text())
    with Terminal("pubkey", "--key", file) as program:
        program.wait("passphrase of .*: $")
        program.press("föhn\r")
        assert program.wait("(0[23][0-9a-f]{64})") == public
    environment = {**os.environ, "MUSIG_PASSPHRASE_FILE": str(words)}

    def pubkey(**more: Any) -> tuple[int, str]:
        command = [*MUSIG, "pubkey", "--key", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, **more)
        return done.returncode, (done.stdout + done.stderr).strip()

    words.write_text("föhn\n")
    assert pubkey(env=environment) == (0, public)
    status, error = pubkey()
    assert status == 1 and "MUSIG_PASSPHRASE_FILE" in error and len(error.splitlines()) == 1
    words.write_text("fohn\n")
    assert "not its passphrase" in pubkey(env=environment)[1]
    # The form stays as it is.
    line = seal(bytes([7] * 32), "a", bytes([1] * 16))
    assert line == SEALED_SEVENS and unseal(line, "a") == bytes([7] * 32)


def test_what_took_effect_is_no_error_though_the_disk_is_slow() -> None:
    async def word(*_: object) -> None:
        raise errors.StoreFailed(StoreProblem.UNSTORED(), "not yet")

    async def broken(*_: object) -> None:
        raise errors.StoreFailed(StoreProblem.IN_USE("a"), "never")

    async def done(*_: object) -> None:
        pass

    def answer(method: str, word: Any, **words: Any) -> Any:
        session = SimpleNamespace(decline=word, abort=word, notify_broadcast_complete=word)
        host: Any = SimpleNamespace(node=SimpleNamespace(session=lambda _: session))
        return asyncio.run(OPERATIONS[method](host, "ab" * 32, **words))

    for method, words in (("decline", {"reason": ""}), ("abort", {"reason": ""}), ("notify", {})):
        assert answer(method, word, **words) == {"stored": False}
        assert answer(method, done, **words) == {"stored": True}
        with pytest.raises(errors.StoreFailed, match="never"):
            answer(method, broken, **words)
