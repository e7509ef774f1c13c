"""How far a session came, and waiting until it is far enough."""

from __future__ import annotations

import argparse
import enum
import time
from collections.abc import Callable
from typing import Any

from ..errors import NodeStopped
from .calls import Caller
from .config import Config
from .output import Output, warn
from .progress import countdown, names_of, progress

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
ENDED = ("final", "failed", "aborted", "declined", "expired", "closed")


def evidence(status: dict[str, Any]) -> str:
    """What is known of the transaction."""
    return str(status["failover"]["evidence"]["kind"]) if status["failover"] is not None else "nothing"


def reached(status: dict[str, Any]) -> Reached:
    """How far a session came, by its status."""
    if status["phase"] == "final":
        return Reached.FINAL
    if status["phase"] != "watching":
        return Reached.NOTHING
    return {"seen": Reached.SEEN, "confirmed": Reached.CONFIRMED}.get(evidence(status), Reached.COMPLETE)


def exit_status(status: dict[str, Any] | None, goal: Reached) -> int:
    """0 if the goal was reached; else what was: 3 nothing, 4 the signatures, 5 seen, 6 in a block, 7 a conflict is."""
    if status is None:
        return 3
    if evidence(status) == "conflict" and goal > Reached.COMPLETE:
        return CONFLICT
    level = reached(status)
    return 0 if level >= goal else 3 + level


async def show_result(caller: Caller, output: Output, session: str) -> list[bytes]:
    """Shows the signatures, and the transaction."""
    signatures: list[str] = await caller.call("signatures", session=session)
    for signature in signatures:
        output.say(f"signature   {signature}", {"signature": signature, "session": session})
    made = await caller.call("tx", session=session)
    if made is not None:
        output.say(f"transaction {made['transaction']}", {**made, "session": session})
    return [bytes.fromhex(signature) for signature in signatures]


async def wait_until(
    caller: Caller,
    arguments: argparse.Namespace,
    session: str,
    done: Callable[[list[bytes]], None] = lambda _: None,
) -> int:
    """Waits until the session has come as far as ``--until`` says, has ended, or the command is to end; answers with the exit status.

    Without that it waits until a transaction is final, or signatures of which no transaction comes are complete. `done`
    gets the signatures.
    """
    output: Output = arguments.output
    config: Config = arguments.config
    goal = GOALS[arguments.until] if arguments.until is not None else None
    status: dict[str, Any] | None = None
    complete_at: float | None = None
    try:
        is_last = False
        while True:
            status = await caller.call("status", session=session)
            if goal is None:
                goal = Reached.FINAL if status["signs"] == "transaction" else Reached.COMPLETE
            if reached(status) >= Reached.COMPLETE and complete_at is None:
                complete_at = time.monotonic()
                done(await show_result(caller, output, session))
            name = names_of(status, config)
            output.progress(progress(status, name), countdown(status), status["session"])
            if is_last or status["phase"] in ENDED or reached(status) >= goal:
                break
            is_last = await caller.wait(LOOKS)
        while not is_last and complete_at is not None and (left := complete_at + caller.lingers - time.monotonic()) > 0:
            is_last = await caller.wait(left)
    except NodeStopped:
        pass
    finally:
        output.progress(None, "", session)
    goal = goal or Reached.COMPLETE
    result = exit_status(status, goal)
    if status is not None and result != 0:
        warn(ending(status, goal, caller.goes_on))
    return result


def ending(status: dict[str, Any], goal: Reached, goes_on: str) -> str:
    """Why it ends before its goal, in one line."""
    if evidence(status) == "conflict":
        return f"another transaction, {status['failover']['evidence']['txid']}, spent its coins"
    level = reached(status)
    if status["phase"] not in ENDED:
        now = level.name.lower() if level else "not complete"
        return f"stopped while the session is {now}, before it is {goal.name.lower()}; {goes_on} goes on with it"
    others = f"; the others may still complete it, and {goes_on} takes what they do" if status["partial_sent"] else ""
    return f"the session ended: {status['phase']}{others}"
