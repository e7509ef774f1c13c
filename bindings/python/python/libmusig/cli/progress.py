"""How a session goes on, in one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from .config import Config
from .output import duration, listed

Names = Callable[[int], str]

WHY = {
    "guilty": "is proved to break the protocol",
    "nack": "cannot reach its Bitcoin backend",
    "rejected": "has a backend that rejects the transaction",
    "gone": "is gone",
    "not-holding": "does not hold the signatures",
    "pace": "takes longer than a broadcast takes here",
    "timeout": "has had its whole time",
}
"""Why the next turn does not wait for a signer any longer."""


def names_of(status: dict[str, Any], config: Config) -> Names:
    """What signers are called: by contacts, else by the first digits of their keys."""

    def name(index: int) -> str:
        if index == status["own_index"]:
            return "this signer"
        keys = status["signer_keys"]
        return config.name(keys[index]) or f"{keys[index][:8]}…" if index < len(keys) else f"signer {index}"

    return name


def progress(status: dict[str, Any], name: Names) -> str | None:
    """What the session is waiting for; None if for nothing."""
    count = len(status["signers"])
    if status["phase"] in ("proposed", "joined"):
        consent = [index for index in range(count) if index not in status["accepted"]]
        if consent:
            return waiting("consent", count, consent, name)
        return waiting("nonces", count, status["missing"], name)
    if status["phase"] == "signing":
        return waiting("signatures", count, status["missing"], name)
    watch = status["failover"]
    if status["phase"] != "watching" or watch is None:
        return None
    kind = watch["evidence"]["kind"]
    if kind in ("seen", "conflict"):
        return "the transaction is seen" if kind == "seen" else "another transaction spends its coins"
    if kind == "confirmed":
        depth = watch["evidence"]["confirmations"]
        return f"the transaction has {depth} confirmation{'s' if depth > 1 else ''}"
    own = f", submitted {watch['submissions']} times from here" if watch["submissions"] else ""
    return f"turn {watch['turn']}: {listed(map(name, watch['current']))} to broadcast{own}"


def waiting(what: str, count: int, missing: list[int], name: Names) -> str:
    """``nonces 2 of 3, waiting for bob``."""
    text = f"{what} {count - len(missing)} of {count}"
    return f"{text}, waiting for {listed(map(name, missing))}" if missing else text


def countdown(status: dict[str, Any]) -> str:
    """When the next turn opens, if the session waits for that."""
    watch = status["failover"]
    if status["phase"] != "watching" or watch is None or watch["until_next_turn"] is None:
        return ""
    if watch["evidence"]["kind"] not in ("nothing", "submitted"):
        return ""
    return f", next turn in {duration(watch['until_next_turn'])}"


def turns_ahead(status: dict[str, Any], name: Names, now: datetime | None = None) -> list[str]:
    """When each turn that is ahead opens, and why then, as far as is known now."""
    watch = status["failover"]
    if status["phase"] != "watching" or watch is None:
        return []
    turns: dict[int, list[dict[str, Any]]] = {}
    for signer in watch["signers"]:
        turns.setdefault(signer["turn"], []).append(signer)
    lines = []
    for turn, signers in sorted(turns.items()):
        opens, before = signers[0]["opens_at"], turns.get(turn - 1, [])
        if opens is None or not before:
            continue
        left = datetime.fromisoformat(opens) - (now or datetime.now(timezone.utc))
        # The turn waits for that one longest.
        last = max(before, key=lambda signer: float(signer["wait"]))
        who = listed(name(signer["signer"]) for signer in signers)
        lines.append(f"turn {turn}, {who}, in {duration(left.total_seconds())}, when {name(last['signer'])} {WHY[last['cause']]}")
    return lines
