"""Operations by whoever can do them: a node of this command's own, one that runs, or a store alone."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from .._node import NodeEvent
from .control import Client, connecting
from .host import Host, hosting
from .operations import OPERATIONS


class Caller(Protocol):
    """Whoever does operations."""

    goes_on: str
    """Who goes on with a session when this command ends."""
    lingers: float
    """Seconds that it stays after the signatures are complete, so that the others get them from here."""

    async def call(self, method: str, /, **parameters: Any) -> Any:
        """Does an operation."""

    async def wait(self, seconds: float) -> bool:
        """Waits until something happened, or so long at most. Whether the command is to end."""

    def end(self) -> None:
        """Has the command end."""

    def ends_at_signals(self) -> None:
        """Ends the command at Ctrl-C."""


class Own:
    """The node that this command runs."""

    goes_on = "`musig node`"
    lingers = 2.0

    def __init__(self, host: Host, heard: asyncio.Queue[NodeEvent | None]) -> None:
        self.host, self.heard = host, heard

    async def call(self, method: str, /, **parameters: Any) -> Any:
        return await OPERATIONS[method](self.host, **parameters)

    async def wait(self, seconds: float) -> bool:
        try:
            return await asyncio.wait_for(self.heard.get(), seconds) is None
        except asyncio.TimeoutError:
            return False

    def end(self) -> None:
        self.host.end()

    def ends_at_signals(self) -> None:
        self.host.ends_at_signals()


class Other:
    """A node that runs, by its control socket."""

    goes_on = "the node"
    lingers = 0.0

    def __init__(self, client: Client) -> None:
        self.call = client.call
        self.ended = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.ended.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def end(self) -> None:
        self.ended.set()

    def ends_at_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.end)


@asynccontextmanager
async def running_node(arguments: argparse.Namespace) -> AsyncIterator[Other | None]:
    """The node that answers at ``--control``, if one does."""
    if arguments.control is None or not hasattr(socket, "AF_UNIX"):
        yield None
        return
    async with connecting(arguments.control) as client:
        yield None if client is None else Other(client)


@asynccontextmanager
async def caller_of(arguments: argparse.Namespace, new: bool = False) -> AsyncIterator[Caller]:
    """The node that answers at ``--control``; if none does, the store alone, which must exist unless it may be `new`."""
    async with running_node(arguments) as other:
        if other is not None:
            yield other
            return
    if arguments.control is not None and arguments.store is None:
        raise ValueError(f"--control: no node answers at {arguments.control}; start one, or give --store")
    async with hosting(arguments, offline=True, new=new, shows=False) as host:
        with host.listening() as heard:
            yield Own(host, heard)
