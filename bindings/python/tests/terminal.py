"""The console command, run as a program."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from support import PATIENCE, keys, secret

MUSIG = [sys.executable, "-m", "libmusig"]


def run(*words: object, expect: int = 0) -> str:
    done = subprocess.run([*MUSIG, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout if expect == 0 else done.stderr


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
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()

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
