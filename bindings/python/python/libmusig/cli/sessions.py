"""Commands that run a node in the network: node, propose, join."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path

from .._ffi import JoinOptions, Message, Phase, Session, SummaryOptions
from .._node import NodeEvent
from ..errors import NodeStopped
from ..keys import Derivation, KeyPath
from ..psbt import Descriptor
from . import metrics
from .host import Host, running, ends_at_signals
from .output import Output
from .questions import ask
from .tools import METHODS, NETWORKS, read_psbt
from .until import goal_of, wait_until


async def run_node(arguments: argparse.Namespace) -> int:
    """Runs a node and prints its events."""
    async with running(arguments) as host, AsyncExitStack() as around:
        if arguments.metrics:
            address = await around.enter_async_context(metrics.serving(host.node, arguments.metrics))
            host.output.say(f"metrics     {address}", {"metrics": address})
        if arguments.metrics_file:
            await around.enter_async_context(metrics.in_file(host.node, Path(arguments.metrics_file)))
        await host.ended.wait()
    return 0


async def propose(arguments: argparse.Namespace) -> int:
    """Proposes a session and signs."""
    digests = [bytes.fromhex(text) for text in arguments.digest]
    digests += [hashlib.sha256(text.encode()).digest() for text in arguments.text]
    transaction = bytes.fromhex(arguments.transaction) if arguments.transaction else None
    spends = read_psbt(arguments.psbt) if arguments.psbt else None
    wallet = Descriptor(arguments.descriptor) if arguments.descriptor else None

    def keep(signatures: list[bytes]) -> None:
        if spends is not None and arguments.psbt_out:
            Path(arguments.psbt_out).write_text(spends.with_signatures(signatures).finalized().to_base64() + "\n")

    async with running(arguments) as host:
        session = await host.node.create_session(
            arguments.signer,
            messages=[Message(digest=digest) for digest in digests] if transaction is None and spends is None else None,
            transaction=transaction,
            psbt=spends,
            key_sets=wallet.key_sets(spends) if wallet is not None and spends is not None else [],
            spent=arguments.spent,
            derivations=[Derivation(path=path, taproot=KeyPath()) for path in arguments.path],
            election_method=METHODS[arguments.method],
            sign_only=arguments.broadcast == "sign-only",
            coordinator_only=arguments.broadcast == "coordinator-only",
            broadcast_timeout=arguments.timeout if arguments.broadcast == "failover" else None,
            metadata=arguments.metadata.encode(),
            consent=JoinOptions(sign_blind=arguments.sign_blind),
        )
        host.output.say(f"proposed    {session.id()}", {"proposed": session.id()})
        return await wait_until(host, session, goal_of(arguments), keep)


async def join(arguments: argparse.Namespace) -> int:
    """Waits for a proposal, shows it, asks, and signs."""
    async with running(arguments) as host:
        with host.listening() as heard:
            session = await proposed(host, heard, arguments.session)
        if session is None:
            return 3
        if (await session.status()).phase in (Phase.PROPOSED, Phase.CLOSED):
            await show_summary(host.output, session, arguments)
            if not arguments.yes and not await ask("sign this?", lambda: ends_at_signals(host)):
                await session.decline("the user declined")
                return 3
            await session.join(JoinOptions(sign_blind=arguments.sign_blind))
        return await wait_until(host, session, goal_of(arguments))


async def proposed(host: Host, heard: asyncio.Queue[NodeEvent | None], wanted: str | None) -> Session | None:
    """The session with this id, or the first that waits for consent. None if the command is to end before there is one."""
    try:
        while True:
            for status in await host.node.sessions():
                if status.session == wanted or (wanted is None and status.phase == Phase.PROPOSED):
                    return host.node.session(status.session)
            if await heard.get() is None:
                return None
    except NodeStopped:
        return None


async def show_summary(output: Output, session: Session, arguments: argparse.Namespace) -> None:
    """What somebody consents to. What others wrote is escaped, and last."""
    own = [bytes.fromhex(script) for script in arguments.own_script]
    summary = await session.summary(SummaryOptions(network=NETWORKS[arguments.network], own_scripts=own))
    output.say(summary.text.rstrip("\n"), {"summary": summary})
