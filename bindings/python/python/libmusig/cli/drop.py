"""Exchange of sessions through a folder, between nodes that no network connects.

Each node keeps a file for each of its sessions there, named by its own key, and takes in those of the others. Somebody, or
some program, copies them from folder to folder.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..errors import MusigError, NodeStopped
from .host import Host
from .output import warn, words_of
from .until import ENDED

EVERY = 1.0
"""Seconds between two looks at the folder, if nothing happens at the node."""
LARGEST = 1 << 24
"""Bytes of a file that is taken in."""


def version(file: Path) -> tuple[int, int]:
    """What differs once a file has changed."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size


class Drop:
    """A folder, and what of it is known."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.written: dict[str, tuple[bytes, tuple[int, int]]] = {}
        """What each session's file has, and its version: an old copy may be put over it."""
        self.taken: dict[Path, tuple[int, int]] = {}
        self.done: set[str] = set()

    def own(self, session: str) -> Path:
        return self.folder / f"{session[:16]}-{self.host.node.signer_key[:16]}.musig"

    async def put(self) -> None:
        """Writes what the sessions hold by now; a reader sees the old file or the new one."""
        for status in await self.host.node.sessions():
            session, is_over = status.session, words_of(status.phase.name) in ENDED
            if session in self.done:
                continue
            try:
                data = await self.host.node.session(session).export_session()
            except NodeStopped:
                raise
            except MusigError:
                continue
            file = self.own(session)
            if not file.exists() or self.written.get(session) != (data, version(file)):
                beside = file.with_suffix(".new")
                beside.write_bytes(data)
                os.replace(beside, file)
                self.written[session] = (data, version(file))
            if is_over:
                self.done.add(session)
                self.written.pop(session, None)

    async def take(self) -> None:
        """Takes in the files of others that are new or have changed."""
        for file in sorted(self.folder.glob("*.musig")):
            try:
                now = version(file)
                if file.stem.endswith(self.host.node.signer_key[:16]) or self.taken.get(file) == now:
                    continue
                self.taken[file] = now
                if now[1] > LARGEST:
                    raise ValueError(f"it has more than {LARGEST} bytes")
                await self.host.node.import_sessions(file.read_bytes())
            except NodeStopped:
                raise
            except (MusigError, OSError, ValueError) as error:
                warn(f"--drop: {file} was not taken: {error}")


@asynccontextmanager
async def exchanging(host: Host, folder: Path) -> AsyncIterator[None]:
    """Exchanges what the node holds through the folder."""
    if not folder.is_dir():
        raise ValueError(f"--drop {folder}: there is no such folder")
    drop = Drop(host, folder)

    async def keep() -> None:
        with host.listening() as heard:
            while True:
                try:
                    await drop.take()
                    await drop.put()
                except NodeStopped:
                    return
                except OSError as error:
                    warn(f"--drop {folder}: {error}")
                try:
                    if await asyncio.wait_for(heard.get(), EVERY) is None:
                        return
                except asyncio.TimeoutError:
                    pass

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
