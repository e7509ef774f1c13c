"""The way to the network: what an application implements, and what its objects answer.

Objects of these classes are called on a thread of the node's own, one call at a time. They may block, and they may
raise: a Broadcaster that raises cannot reach the network, so the other signers take over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Union

from . import _ffi
from ._ffi import ChainQuery, LogLevel, LogRecord, OutPoint, SignedTransaction, SpentOutput

Accepted = _ffi.SubmitOutcome.ACCEPTED
"""The network's node took the transaction, or knew it already."""
Rejected = _ffi.SubmitOutcome.REJECTED
"""It refuses the transaction itself, for this ``reason``."""
SubmitOutcome = Union[Accepted, Rejected]

Unknown = _ffi.ChainStatus.UNKNOWN
"""Neither the transaction nor a conflicting one is known."""
Seen = _ffi.ChainStatus.SEEN
"""It is in the mempool."""
Confirmed = _ffi.ChainStatus.CONFIRMED
"""It is in a block."""
Conflict = _ffi.ChainStatus.CONFLICT
"""Another transaction spends one of its inputs and is in a block."""
ChainStatus = Union[Unknown, Seen, Confirmed, Conflict]


class Broadcaster(_ffi.Broadcaster, ABC):
    """Submits transactions."""

    @abstractmethod
    def submit(self, transaction: SignedTransaction) -> SubmitOutcome:  # type: ignore[override]
        """Submits. May be called again with the same transaction."""


class ChainObserver(_ffi.ChainObserver, ABC):
    """Looks at the chain."""

    @abstractmethod
    def status(self, query: ChainQuery) -> ChainStatus:  # type: ignore[override]
        """What the chain says now."""


class LogSink(_ffi.LogSink, ABC):
    """Gets a node's log. What it raises is ignored."""

    @abstractmethod
    def log(self, record: LogRecord) -> None:
        """Takes one record."""


__all__ = [
    "Accepted",
    "Broadcaster",
    "ChainObserver",
    "ChainQuery",
    "ChainStatus",
    "Confirmed",
    "Conflict",
    "LogLevel",
    "LogRecord",
    "LogSink",
    "OutPoint",
    "Rejected",
    "Seen",
    "SignedTransaction",
    "SpentOutput",
    "SubmitOutcome",
    "Unknown",
]
