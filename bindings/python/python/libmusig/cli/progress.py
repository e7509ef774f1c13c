"""How a session goes on, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .config import Config
from .output import duration, listed

Names = Callable[[int], str]


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
