"""The node that a command runs, and who hears of its events."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from .. import events
from .._ffi import LogLevel, SignedTransaction, StoreProblem, Submission
from .._node import Node, NodeEvent
from ..chain import Accepted, Broadcaster, ChainSource, SubmitOutcome, bitcoin_core
from .._logging import logging_sink
from ..errors import InvalidConfig, MusigError, NodeStopped, StoreFailed
from .extended import add_xprv
from .groups import wallet_of
from .output import Ended, Output, warn
from .secret import read_secret

KNOWN_ALREADY = re.compile(r"already in (block ?chain|mempool|utxo set)|txn-already-(known|in-mempool)|outputs already", re.I)
"""What Bitcoin nodes say of a transaction that they have."""


class Command(Broadcaster):
    """Broadcasts by a command that gets the transaction, in hexadecimal digits, on its standard input."""

    def __init__(self, command: str) -> None:
        self.command = command

    def submit(self, transaction: SignedTransaction) -> SubmitOutcome:
        given = transaction.bytes.hex().encode()
        done = subprocess.run(self.command, shell=True, capture_output=True, input=given, timeout=60)
        words = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        if done.returncode != 0 and not KNOWN_ALREADY.search(words):
            raise RuntimeError(f"--broadcast-command ended with status {done.returncode}: {words or 'it said nothing'}")
        return Accepted()


class Host:
    """A node whose events are printed, acknowledged, and passed on to whoever listens."""

    def __init__(self, node: Node, output: Output, broadcasts: bool, notifies: bool) -> None:
        self.node, self.output = node, output
        self.broadcasts = broadcasts
        """Whether it can submit a transaction."""
        self.notifies = notifies
        """Whether what the own broadcaster accepted ends the watch: no observer will ever see it."""
        self.listeners: set[asyncio.Queue[NodeEvent | None]] = set()
        self.ended = asyncio.Event()
        """The node has stopped, or the command is to end."""

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[NodeEvent | None]]:
        """All events from now on; None once the command is to end."""
        queue: asyncio.Queue[NodeEvent | None] = asyncio.Queue()
        if self.ended.is_set():
            queue.put_nowait(None)
        self.listeners.add(queue)
        try:
            yield queue
        finally:
            self.listeners.discard(queue)

    async def run(self, shows: bool) -> None:
        """Takes events until the node stops, or nobody reads the output. What is not shown is not acknowledged."""
        try:
            async for event in self.node.events():
                if shows:
                    self.output.event(event)
                if self.notifies and isinstance(event.data, events.Submitted) and event.session is not None:
                    if event.data.outcome == Submission.ACCEPTED:
                        await self.notify(event.session)
                for queue in self.listeners:
                    queue.put_nowait(event)
                if shows:
                    event.ack()
        finally:
            self.end()

    def end(self) -> None:
        """Has the command end; the node stops after it."""
        self.ended.set()
        for queue in self.listeners:
            queue.put_nowait(None)

    def ends_at_signals(self) -> None:
        """Ends the command at Ctrl-C, and when the system asks."""
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                asyncio.get_running_loop().add_signal_handler(number, self.end)
            except NotImplementedError:
                return

    async def notify(self, session: str) -> None:
        try:
            await self.node.session(session).notify_broadcast_complete()
        except NodeStopped:
            pass
        except MusigError as error:
            if isinstance(error, StoreFailed) and isinstance(error.problem, StoreProblem.UNSTORED):
                # It took effect, and after a crash the transaction is submitted again.
                return
            warn(f"the broadcast of {session[:16]} was not noted: {error}")

    async def greet(self, listen: list[str]) -> bool:
        """Prints how others reach the node. False if it can listen nowhere; the events say why."""
        # By default on IPv4 and IPv6, of which one is enough.
        wanted = len(listen) or 2
        failed: set[str] = set()
        with self.listening() as heard:
            while not (addresses := await self.node.listen_addresses()):
                if len(failed) >= wanted:
                    warn("--listen: it can listen nowhere; free the port, or give another address")
                    return False
                try:
                    event = await asyncio.wait_for(heard.get(), 0.05)
                except asyncio.TimeoutError:
                    continue
                if event is None:
                    return False
                if isinstance(event.data, events.NetworkDegraded):
                    failed.update(re.findall(r"^cannot listen on (\S+)", event.data.reason))
        for address in addresses:
            self.output.say(f"listening   {address}", {"listening": address})
        return True


def make_source(arguments: argparse.Namespace) -> ChainSource | None:
    """The Bitcoin backend that the options describe."""
    text = getattr(arguments, "source", None)
    if text is None:
        return None
    kind, _, where = text.partition(":")
    try:
        if kind == "core":
            password = os.environ.get("MUSIG_RPC_PASSWORD", "")
            return bitcoin_core(where, cookie_file=arguments.cookie, user=arguments.rpc_user, password=password)
        if kind == "esplora":
            return ChainSource.esplora(where)
        if kind == "electrum":
            return ChainSource.electrum(where if "://" in where else f"ssl://{where}")
    except MusigError as error:
        raise ValueError(f"--source {text}: {error}") from None
    raise ValueError(f"--source: {text!r} is none; give core:URL, esplora:URL or electrum:HOST:PORT")


@asynccontextmanager
async def hosting(
    arguments: argparse.Namespace, offline: bool = False, new: bool = True, shows: bool = True
) -> AsyncIterator[Host]:
    """The node that the common options describe. Without a source the user is the observer of the chain. Without `new`
    its store must exist. It `shows` events, and acknowledges them, or does neither."""
    wallets = [wallet_of(text) for text in getattr(arguments, "wallet", [])]
    signer = read_secret(arguments)
    if getattr(arguments, "xprv", None) is not None:
        add_xprv(signer, arguments.xprv)
    if arguments.store is None:
        raise ValueError("--store: give the file where sessions are kept")
    if not new and not Path(arguments.store).is_file():
        raise ValueError(f"--store: there is no file {arguments.store}")
    command = getattr(arguments, "broadcast_command", None)
    source = make_source(arguments)
    node = Node(
        signer=signer,
        store=arguments.store,
        listen=getattr(arguments, "listen", []),
        peers=getattr(arguments, "peer", []),
        offline=offline,
        source=source,
        broadcaster=Command(command) if command else None,
        without_observer=source is None,
        log_sink=logging_sink(logging.getLogger("libmusig")) if arguments.verbose else None,
        log_level=LogLevel.DEBUG if arguments.verbose > 1 else LogLevel.INFO,
    )
    try:
        await node.start()
    except InvalidConfig as error:
        wrong = [f"--{name} {value}" for name in ("listen", "peer") for value in getattr(arguments, name, [])]
        found = next((each for each in wrong if f'"{each.split(" ", 1)[1]}"' in str(error)), None)
        raise ValueError(f"{found}: {error}" if found else str(error)) from None
    except StoreFailed as error:
        hint = "; if a node runs with it, ask that by --control" if isinstance(error.problem, StoreProblem.IN_USE) else ""
        raise ValueError(f"--store {arguments.store}: {error}{hint}") from None
    by_command = command is not None
    host = Host(node, arguments.output, by_command or source is not None, by_command and source is None)
    events_taken = asyncio.create_task(host.run(shows))
    try:
        for descriptor in wallets:
            await node.add_descriptor(descriptor, arguments.next_index)
        yield host
    finally:
        await node.stop()
        await events_taken


@asynccontextmanager
async def running(arguments: argparse.Namespace) -> AsyncIterator[Host]:
    """A node in the network, that ends when it is asked to; with ``--offline``, in none."""
    offline: bool = getattr(arguments, "offline", False)
    async with hosting(arguments, offline=offline) as host:
        host.ends_at_signals()
        host.output.say(f"signer key  {host.node.signer_key}", {"signer_key": host.node.signer_key})
        if not offline and not await host.greet(arguments.listen):
            raise Ended(1)
        yield host
