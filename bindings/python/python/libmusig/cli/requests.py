"""Commands that ask a node that runs, or else a store that no node has open."""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

from .calls import Caller, caller_of
from .output import Output, warn
from .progress import names_of, turns_ahead
from .sessions import consent


async def status(arguments: argparse.Namespace) -> int:
    """The sessions of a node."""
    async with caller_of(arguments) as caller:
        if arguments.session is not None:
            show(arguments, await caller.call("status", session=arguments.session))
            return 0
        for each in await caller.call("sessions"):
            show(arguments, each)
    return 0


def show(arguments: argparse.Namespace, status: dict[str, Any]) -> None:
    """A session, and for people when its next turns open."""
    output: Output = arguments.output
    output.status(status)
    if not output.as_json:
        for line in turns_ahead(status, names_of(status, arguments.config)):
            output.line(f"    {line}")


async def say(caller: Caller, method: str, arguments: argparse.Namespace, **words: Any) -> None:
    """Says something in a session, and shows what it is then."""
    answer = await caller.call(method, session=arguments.session, **words)
    if not answer["stored"]:
        warn("it took effect, but is not on the disk yet, which is full or slow; a crash may undo it")
    arguments.output.status(await caller.call("status", session=arguments.session))


async def decline(arguments: argparse.Namespace) -> int:
    """Declines a proposal, which ends the session for all signers."""
    async with caller_of(arguments) as caller:
        await say(caller, "decline", arguments, reason=arguments.reason)
    return 0


async def abort(arguments: argparse.Namespace) -> int:
    """Aborts a session: this node stops taking part."""
    async with caller_of(arguments) as caller:
        await say(caller, "abort", arguments, reason=arguments.reason)
    return 0


async def notify(arguments: argparse.Namespace) -> int:
    """Says that the transaction was broadcast; to a node without a source that is the end."""
    async with caller_of(arguments) as caller:
        await say(caller, "notify", arguments, txid=arguments.txid)
    return 0


async def tx(arguments: argparse.Namespace) -> int:
    """Prints the signed transaction, in hexadecimal digits."""
    async with caller_of(arguments) as caller:
        made = await caller.call("tx", session=arguments.session)
        if made is None:
            found = await caller.call("status", session=arguments.session)
            why = "it signs no transaction" if found["signs"] == "messages" else f"it is {found['phase']}"
            raise ValueError(f"session {found['session'][:16]} has no signed transaction: {why}")
    arguments.output.say(made["transaction"], made)
    return 0


async def broadcast(arguments: argparse.Namespace) -> int:
    """Submits the transaction now, whoever's turn it is."""
    async with caller_of(arguments) as caller:
        answer = await caller.call("broadcast", session=arguments.session)
    arguments.output.say(f"{answer['outcome']:<12}{answer['words'] or ''}".rstrip(), answer)
    return 0 if answer["outcome"] == "accepted" else 1


async def metrics(arguments: argparse.Namespace) -> int:
    """Prints the metrics of a node, for Prometheus, or as JSON."""
    async with caller_of(arguments) as caller:
        if arguments.json:
            for sample in await caller.call("metrics", form="json"):
                arguments.output.line(json.dumps(sample))
        else:
            print(await caller.call("metrics"), end="", flush=True)
    return 0


async def top(arguments: argparse.Namespace) -> int:
    """Shows sessions, turns, peers and events of a node as they are now; q ends it."""
    try:
        from .top import top as show
    except ImportError:
        raise ValueError("top needs the package rich: `pip install rich`, or libmusig with its extra `top`") from None
    return await show(arguments)


async def export(arguments: argparse.Namespace) -> int:
    """Writes everything that a session holds to a file."""
    async with caller_of(arguments) as caller:
        answer = await caller.call("export", session=arguments.session)
    data = base64.b64decode(answer["data"])
    Path(arguments.file).write_bytes(data)
    arguments.output.say(f"{len(data)} bytes", {"bytes": len(data), "file": arguments.file})
    return 0


async def import_(arguments: argparse.Namespace) -> int:
    """Takes an exported file; with --join, signs what it proposes."""
    data = base64.b64encode(Path(arguments.file).read_bytes()).decode()
    async with caller_of(arguments, new=True) as caller:
        for session in await caller.call("import", data=data):
            if arguments.join:
                await consent(caller, arguments.output, session, arguments, asks=False)
            arguments.output.status(await caller.call("status", session=session))
    return 0
