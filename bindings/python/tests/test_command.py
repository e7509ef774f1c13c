"""What the console command promises to operators."""

from __future__ import annotations

from pathlib import Path

from support import ranked, spend, keys
from terminal import Program, Signer, run, signers
from wallet import PSBT, TXID, esplora


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
