"""Commands that run a node in the network, or have one that runs do it: node, propose, join."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ..errors import NodeStopped
from . import control, drop, metrics
from .calls import Caller, Own, running_node
from .host import Host, running
from .output import Output
from .questions import ask
from .tools import read_group
from .tools import read_psbt
from .until import wait_until


async def run_node(arguments: argparse.Namespace) -> int:
    """Runs a node and prints its events."""
    async with answering(arguments) as host, AsyncExitStack() as around:
        if arguments.metrics:
            address = await around.enter_async_context(metrics.serving(host.node, arguments.metrics))
            host.output.say(f"metrics     {address}", {"metrics": address})
        if arguments.metrics_file:
            await around.enter_async_context(metrics.in_file(host.node, Path(arguments.metrics_file)))
        if arguments.drop is not None:
            await around.enter_async_context(drop.exchanging(host, Path(arguments.drop)))
            host.output.say(f"exchanging  {arguments.drop}", {"exchanging": arguments.drop})
        await host.ended.wait()
    return 0


@asynccontextmanager
async def answering(arguments: argparse.Namespace) -> AsyncIterator[Host]:
    """A node in the network that answers at ``--control``, if that is given."""
    async with running(arguments) as host, AsyncExitStack() as around:
        if arguments.control is not None:
            await around.enter_async_context(control.serving(host, Path(arguments.control)))
            host.output.say(f"control     {arguments.control}", {"control": arguments.control})
        yield host


@asynccontextmanager
async def node_of(arguments: argparse.Namespace) -> AsyncIterator[Caller]:
    """The node that answers at ``--control``; if none does, one in the network of this command's own."""
    async with running_node(arguments) as other:
        if other is not None:
            other.ends_at_signals()
            yield other
            return
    async with answering(arguments) as host:
        with host.listening() as heard:
            yield Own(host, heard)


async def propose(arguments: argparse.Namespace) -> int:
    """Proposes a session and signs."""
    spends = read_psbt(arguments.psbt) if arguments.psbt else None

    def keep(signatures: list[bytes]) -> None:
        if spends is not None and arguments.psbt_out:
            Path(arguments.psbt_out).write_text(spends.with_signatures(signatures).finalized().to_base64() + "\n")

    output: Output = arguments.output
    signers, descriptor = arguments.signer, arguments.descriptor
    if arguments.group:
        group = read_group(arguments.group)
        signers, descriptor = group.signers(), group.descriptor().text()
    async with node_of(arguments) as caller:
        session: str = await caller.call(
            "propose",
            signers=signers,
            digests=arguments.digest + [hashlib.sha256(text.encode()).hexdigest() for text in arguments.text],
            transaction=arguments.transaction,
            spent=arguments.spent,
            psbt=spends.to_base64() if spends is not None else None,
            descriptor=descriptor,
            paths=arguments.path,
            method=arguments.method,
            broadcasts=arguments.broadcast,
            timeout=arguments.timeout,
            metadata=arguments.metadata,
            sign_blind=arguments.sign_blind,
        )
        output.say(f"proposed    {session}", {"proposed": session})
        return await wait_until(caller, arguments, session, keep)


async def join(arguments: argparse.Namespace) -> int:
    """Waits for a proposal, shows it, asks, and signs."""
    output: Output = arguments.output
    async with node_of(arguments) as caller:
        session = await proposed(caller, arguments.session)
        if session is None:
            return 3
        if (await caller.call("status", session=session))["phase"] in ("proposed", "closed"):
            if not await consent(caller, output, session, arguments, asks=not arguments.yes):
                return 3
        return await wait_until(caller, arguments, session)


async def proposed(caller: Caller, wanted: str | None) -> str | None:
    """The session with this id, or the first that waits for consent. None if the command is to end before there is one."""
    try:
        while True:
            for status in await caller.call("sessions"):
                found: str = status["session"]
                if status["phase"] == "proposed" if wanted is None else found.startswith(wanted.lower()):
                    return found if wanted is None else (await caller.call("status", session=wanted))["session"]
            if await caller.wait(1):
                return None
    except NodeStopped:
        return None


async def consent(caller: Caller, output: Output, session: str, arguments: argparse.Namespace, asks: bool) -> bool:
    """Shows what somebody consents to, asks, and joins or declines. What others wrote is escaped, and last."""
    options = {"network": arguments.network, "own_scripts": arguments.own_script}
    shown = await caller.call("summary", session=session, **options)
    output.say(shown["text"].rstrip("\n"), {"summary": shown})
    if asks and not await ask("sign this?", caller.ends_at_signals):
        await caller.call("decline", session=session, reason="the user declined")
        return False
    await caller.call("join", session=session, sign_blind=getattr(arguments, "sign_blind", False))
    return True
