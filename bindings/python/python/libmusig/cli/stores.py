"""Commands on a store that no node has open."""

from __future__ import annotations

import argparse
from pathlib import Path

from .host import hosting
from .output import Output, plain
from .sessions import show_summary


async def status(arguments: argparse.Namespace) -> int:
    """The sessions in a store that no node has open."""
    async with hosting(arguments, offline=True, new=False) as host:
        for each in await host.node.sessions():
            host.output.status(plain(each))
    return 0


async def export(arguments: argparse.Namespace) -> int:
    """Writes everything that a session holds to a file."""
    async with hosting(arguments, offline=True, new=False) as host:
        data = await host.node.session(arguments.session).export_session()
    Path(arguments.file).write_bytes(data)
    Output(arguments.json).say(f"{len(data)} bytes", {"bytes": len(data), "file": arguments.file})
    return 0


async def import_(arguments: argparse.Namespace) -> int:
    """Takes an exported file; with --join, signs what it proposes."""
    async with hosting(arguments, offline=True) as host:
        for session in await host.node.import_sessions(Path(arguments.file).read_bytes()):
            if arguments.join:
                await show_summary(host.output, session, arguments)
                await session.join()
            host.output.status(plain(await session.status()))
    return 0
