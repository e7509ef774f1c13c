"""What can be asked of a node: by the command that runs it, through its control socket, or of a store alone.

Each operation takes and gives what JSON can hold. A session is named by its id, or by its beginning if only one begins so.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

from .. import events
from .._ffi import (
    JoinOptions,
    Message,
    MetricsFormat,
    Session,
    SessionStatus,
    SpentOutput,
    StoreProblem,
    SummaryOptions,
    library_version,
)
from ..errors import MusigError, StoreFailed
from ..keys import Derivation, KeyPath
from ..psbt import Descriptor, Psbt
from .host import Host
from .output import plain
from .tools import METHODS, NETWORKS

VERSION = 1
"""Version of the operations. It grows when a program that knew the last one would misunderstand something."""
PATIENCE = 90.0
"""Seconds within which a submission is answered: longer than a broadcaster may take."""
SHORTEST = 4
"""Digits of a session's id that are enough to name it."""


async def find(host: Host, name: str) -> Session:
    """The session whose id this is, or the only one whose id begins so."""
    if len(name) == 64:
        return host.node.session(name)
    if len(name) < SHORTEST:
        raise ValueError(f"{name!r} is too short for a session's id: give at least {SHORTEST} digits")
    found = [status.session for status in await host.node.sessions() if status.session.startswith(name.lower())]
    if len(found) != 1:
        raise ValueError(f"{len(found) or 'no'} sessions begin with {name}" + ("; give more digits" if found else ""))
    return host.node.session(found[0])


async def describe(host: Host, status: SessionStatus) -> dict[str, Any]:
    """A session's status, and of its terms what makes it understandable."""
    try:
        terms = await host.node.session(status.session).proposal()
    except MusigError:
        return {**plain(status), "signer_keys": [], "signs": None}
    signs = "messages" if terms.unsigned_transaction is None else "transaction"
    return {**plain(status), "signer_keys": terms.signers, "signs": signs}


async def hello(host: Host) -> dict[str, Any]:
    return {"version": VERSION, "library": library_version(), "signer_key": host.node.signer_key}


async def sessions(host: Host) -> list[dict[str, Any]]:
    return [await describe(host, status) for status in await host.node.sessions()]


async def status(host: Host, session: str) -> dict[str, Any]:
    return await describe(host, await (await find(host, session)).status())


async def peers(host: Host) -> dict[str, Any]:
    node = host.node
    return {"listening": await node.listen_addresses(), "connected": await node.connected_signers()}


async def propose(
    host: Host,
    signers: list[str],
    digests: list[str] | None = None,
    transaction: str | None = None,
    spent: list[str] | None = None,
    psbt: str | None = None,
    descriptor: str | None = None,
    paths: list[list[int]] | None = None,
    method: str = "lexicographic",
    broadcasts: str = "failover",
    timeout: float | None = None,
    metadata: str = "",
    sign_blind: bool = False,
) -> str:
    """Proposes digests, a transaction, or a PSBT; the session's id."""
    spends = Psbt.from_base64(psbt) if psbt is not None else None
    wallet = Descriptor(descriptor) if descriptor is not None else None
    are_messages = transaction is None and spends is None
    session = await host.node.create_session(
        signers,
        messages=[Message(digest=bytes.fromhex(digest)) for digest in digests or []] if are_messages else None,
        transaction=bytes.fromhex(transaction) if transaction is not None else None,
        psbt=spends,
        key_sets=wallet.key_sets(spends) if wallet is not None and spends is not None else [],
        spent=[spent_output(text) for text in spent or []],
        derivations=[Derivation(path=path, taproot=KeyPath()) for path in paths or []],
        election_method=METHODS[method],
        sign_only=broadcasts == "sign-only",
        coordinator_only=broadcasts == "coordinator-only",
        broadcast_timeout=timeout if broadcasts == "failover" else None,
        metadata=metadata.encode(),
        consent=JoinOptions(sign_blind=sign_blind),
    )
    return session.id()


def spent_output(text: str) -> SpentOutput:
    """``VALUE:SCRIPT``."""
    value, _, script = text.partition(":")
    return SpentOutput(value=int(value), script=bytes.fromhex(script))


async def import_(host: Host, data: str) -> list[str]:
    """Takes what was exported; the sessions in it."""
    return [session.id() for session in await host.node.import_sessions(base64.b64decode(data, validate=True))]


async def summary(host: Host, session: str, network: str = "mainnet", own_scripts: list[str] | None = None) -> Any:
    if network not in NETWORKS:
        raise ValueError(f"{network!r} is no network")
    own = [bytes.fromhex(script) for script in own_scripts or []]
    return plain(await (await find(host, session)).summary(SummaryOptions(network=NETWORKS[network], own_scripts=own)))


async def join(host: Host, session: str, sign_blind: bool = False) -> None:
    await (await find(host, session)).join(JoinOptions(sign_blind=sign_blind))


async def said(word: Awaitable[None]) -> dict[str, Any]:
    """What took effect may not be stored yet, if the disk is full or slow."""
    try:
        await word
    except StoreFailed as error:
        if not isinstance(error.problem, StoreProblem.UNSTORED):
            raise
        return {"stored": False}
    return {"stored": True}


async def decline(host: Host, session: str, reason: str) -> dict[str, Any]:
    return await said((await find(host, session)).decline(reason))


async def abort(host: Host, session: str, reason: str) -> dict[str, Any]:
    return await said((await find(host, session)).abort(reason))


async def notify(host: Host, session: str, txid: str | None = None) -> dict[str, Any]:
    return await said((await find(host, session)).notify_broadcast_complete(txid))


async def signatures(host: Host, session: str) -> Any:
    return plain(await (await find(host, session)).final_signatures() or [])


async def tx(host: Host, session: str) -> dict[str, Any] | None:
    """None if the session has no finished transaction."""
    transaction = await (await find(host, session)).final_transaction()
    return None if transaction is None else {"txid": transaction.txid, "transaction": transaction.bytes.hex()}


async def broadcast(host: Host, session: str) -> dict[str, Any]:
    """Submits now, and waits for the answer."""
    if not host.broadcasts:
        raise ValueError("the node has no --source and no --broadcast-command to submit by; `musig tx` prints the transaction")
    found = await find(host, session)
    with host.listening() as heard:
        await found.broadcast_now()
        while True:
            event = await asyncio.wait_for(heard.get(), PATIENCE)
            if event is None:
                raise ValueError("the node stopped before the submission was answered")
            if event.session == found.id() and isinstance(event.data, events.Submitted):
                answer: dict[str, Any] = plain(event.data)
                return answer


async def export(host: Host, session: str) -> dict[str, Any]:
    return {"data": base64.b64encode(await (await find(host, session)).export_session()).decode()}


async def metrics(host: Host, form: str = "prometheus") -> Any:
    if form == "json":
        return plain(await host.node.metric_samples())
    forms = {"prometheus": MetricsFormat.PROMETHEUS, "openmetrics": MetricsFormat.OPEN_METRICS}
    if form not in forms:
        raise ValueError(f"{form!r} is no form of metrics: prometheus, openmetrics or json")
    return await host.node.metrics_text(forms[form])


OPERATIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    operation.__name__.rstrip("_"): operation
    for operation in (
        hello, sessions, status, peers, propose, summary, join, decline, abort, notify, signatures, tx, broadcast, export,
        import_, metrics,
    )
}  # fmt: skip
