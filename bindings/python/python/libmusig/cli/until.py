"""How far a session came, and waiting until it is far enough."""

from __future__ import annotations

import argparse
import asyncio
import enum
import time
from collections.abc import Callable

from .._ffi import Evidence, Phase, Session, SessionStatus
from ..errors import NodeStopped
from .host import Host
from .output import warn

LINGERS = 2.0
"""Seconds that a node stays after the signatures are complete, so that the others get them from here."""
LOOKS = 1.0
"""Seconds between two looks at a session that reports nothing."""


class Reached(enum.IntEnum):
    """How far a session came."""

    NOTHING = 0
    COMPLETE = 1
    SEEN = 2
    CONFIRMED = 3
    FINAL = 4


GOALS = {goal.name.lower(): goal for goal in Reached if goal > Reached.NOTHING}
CONFLICT = 7
ENDED = (Phase.FINAL, Phase.FAILED, Phase.ABORTED, Phase.DECLINED, Phase.EXPIRED, Phase.CLOSED)


def goal_of(arguments: argparse.Namespace) -> Reached | None:
    """What ``--until`` says."""
    return GOALS[arguments.until] if arguments.until is not None else None


def reached(status: SessionStatus) -> Reached:
    """How far it came."""
    if status.phase == Phase.FINAL:
        return Reached.FINAL
    if status.phase != Phase.WATCHING:
        return Reached.NOTHING
    evidence = status.failover.evidence if status.failover is not None else None
    if isinstance(evidence, Evidence.CONFIRMED):
        return Reached.CONFIRMED
    return Reached.SEEN if isinstance(evidence, Evidence.SEEN) else Reached.COMPLETE


def exit_status(status: SessionStatus | None, goal: Reached) -> int:
    """0 if the goal was reached; else what was: 3 nothing, 4 the signatures, 5 seen, 6 in a block, 7 a conflict is."""
    if status is None:
        return 3
    evidence = status.failover.evidence if status.failover is not None else None
    if isinstance(evidence, Evidence.CONFLICT) and goal > Reached.COMPLETE:
        return CONFLICT
    level = reached(status)
    return 0 if level >= goal else 3 + level


async def show_result(host: Host, session: Session, signatures: list[bytes]) -> None:
    """The signatures, and the transaction."""
    for signature in signatures:
        host.output.say(f"signature   {signature.hex()}", {"signature": signature, "session": session.id()})
    transaction = await session.final_transaction()
    if transaction is not None:
        record = {"transaction": transaction.bytes, "txid": transaction.txid, "session": session.id()}
        host.output.say(f"transaction {transaction.bytes.hex()}", record)


async def wait_until(
    host: Host, session: Session, goal: Reached | None, done: Callable[[list[bytes]], None] = lambda _: None
) -> int:
    """Waits until the session has come as far as `goal`, has ended, or the command is to end; answers with the exit status.

    Without a goal it waits until a transaction is final, or signatures of which no transaction comes are complete. `done`
    gets the signatures.
    """
    status: SessionStatus | None = None
    complete_at: float | None = None
    with host.listening() as heard:
        try:
            if goal is None:
                terms = await session.proposal()
                goal = Reached.FINAL if terms.unsigned_transaction is not None else Reached.COMPLETE
            while True:
                is_last = host.ended.is_set()
                status = await session.status()
                if reached(status) >= Reached.COMPLETE and complete_at is None:
                    complete_at = time.monotonic()
                    signatures = await session.final_signatures() or []
                    await show_result(host, session, signatures)
                    done(signatures)
                if is_last or status.phase in ENDED or reached(status) >= goal:
                    break
                try:
                    await asyncio.wait_for(heard.get(), LOOKS)
                except asyncio.TimeoutError:
                    pass
            while complete_at is not None and (left := complete_at + LINGERS - time.monotonic()) > 0:
                if await asyncio.wait_for(heard.get(), left) is None:
                    break
        except (NodeStopped, asyncio.TimeoutError):
            pass
    if goal is None:
        goal = Reached.COMPLETE
    result = exit_status(status, goal)
    if status is not None and result != 0:
        warn(ending(status, goal))
    return result


def ending(status: SessionStatus, goal: Reached) -> str:
    """Why it ends before its goal, in one line."""
    if status.failover is not None and isinstance(status.failover.evidence, Evidence.CONFLICT):
        return f"another transaction, {status.failover.evidence.txid}, spent its coins"
    level = reached(status)
    if status.phase not in ENDED:
        now = level.name.lower() if level else "not complete"
        return f"stopped while the session is {now}, before it is {goal.name.lower()}; `musig node` goes on with it"
    others = "; the others may still complete it, and `musig node` takes what they do" if status.partial_sent else ""
    return f"the session ended: {status.phase.name.lower()}{others}"
