"""The console command, run as a program."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from libmusig.cli import main
from support import PATIENCE, keys, secret

MUSIG = [sys.executable, "-m", "libmusig"]


def run(*words: object, expect: int = 0) -> str:
    """What a command says, or its error. It runs in this process, which is faster."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status: object = main([str(word) for word in words])
        except SystemExit as ended:
            status = ended.code
    assert status == expect, output.getvalue() + errors.getvalue()
    return output.getvalue() if expect == 0 else errors.getvalue()


def write_keys(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{index}.key" for index in range(count)]
    for index, path in enumerate(paths):
        path.write_text(secret(index).hex())
    return paths


class Program:
    """A command that runs, and the lines that it says."""

    def __init__(self, *words: object) -> None:
        self.errors = tempfile.TemporaryFile("w+")
        command = [*MUSIG, *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.lines: list[str] = []
        self.stops_reading = False
        """Whether the other end of the pipe is closed after the next line."""
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()
            if self.stops_reading:
                self.process.stdout.close()
                return

    def wait(self, pattern: str) -> str:
        def find() -> str | None:
            found = [re.search(pattern, line) for line in self.lines]
            return next((match.group(1) for match in found if match), None)

        with self.changed:
            if not self.changed.wait_for(find, PATIENCE):
                self.errors.seek(0)
                raise AssertionError(f"no {pattern} in {self.lines}; errors: {self.errors.read()}")
            return find() or ""

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it wrote to the standard error, once it ends."""
        status = self.process.wait(PATIENCE)
        self.errors.seek(0)
        return status, self.errors.read()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()


class Terminal:
    """A command that runs at a terminal, and what is written there."""

    def __init__(self, *words: object, **environment: str) -> None:
        ours, theirs = pty.openpty()
        self.terminal = ours
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 30, 200, 0, 0))

        def take() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*MUSIG, *map(str, words)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(theirs)
        self.text = ""
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        try:
            while more := os.read(self.terminal, 4096):
                with self.changed:
                    self.text += more.decode(errors="replace")
                    self.changed.notify_all()
        except OSError:
            # The other end is closed.
            pass

    def wait(self, pattern: str) -> str:
        with self.changed:
            found = self.changed.wait_for(lambda: re.search(pattern, self.text), PATIENCE)
        assert found is not None, f"no {pattern} in {self.text}"
        return found.group(found.lastindex or 0)

    def press(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def signers(count: int) -> list[str]:
    """Options that name the first test signers."""
    return [word for each in keys(count) for word in ("--signer", each)]


class Signer:
    """A test signer's options."""

    def __init__(self, folder: Path, index: int) -> None:
        self.store = folder / f"{index}.redb"
        file = folder / f"{index}.key"
        if not file.exists():
            file.touch(0o600)
            file.write_text(secret(index).hex())
        self.options: tuple[object, ...] = ("--key", file, "--store", self.store)
        self.network = (*self.options, "--listen", "/ip4/127.0.0.1/tcp/0")
