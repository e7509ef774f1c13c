"""The way to the network: what an application implements, and what its objects answer.

Objects of these classes are called on a thread of the node's own, one call at a time. They may block, and they may
raise: a Broadcaster that raises cannot reach the network, so the other signers take over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from . import _ffi
from ._ffi import ChainQuery, LogLevel, LogRecord, OutPoint, SignedTransaction, SpentOutput

if TYPE_CHECKING:

    class _Broadcaster: ...

    class _ChainObserver: ...

    @dataclass
    class Accepted:
        """The network's node took the transaction, or knew it already."""

    @dataclass
    class Rejected:
        """It refuses the transaction itself (fee, policy, inputs)."""

        reason: str

    @dataclass
    class Unknown:
        """Neither the transaction nor a conflicting one is known."""

    @dataclass
    class Seen:
        """It is in the mempool."""

    @dataclass
    class Confirmed:
        """It is in a block, which itself counts as a confirmation."""

        height: int
        confirmations: int

    @dataclass
    class Conflict:
        """Another transaction spends one of its inputs and is in a block, which itself counts."""

        txid: str
        confirmations: int

else:
    _Broadcaster, _ChainObserver = _ffi.Broadcaster, _ffi.ChainObserver
    Accepted, Rejected = _ffi.SubmitOutcome.ACCEPTED, _ffi.SubmitOutcome.REJECTED
    Unknown, Seen = _ffi.ChainStatus.UNKNOWN, _ffi.ChainStatus.SEEN
    Confirmed, Conflict = _ffi.ChainStatus.CONFIRMED, _ffi.ChainStatus.CONFLICT

SubmitOutcome = Union[Accepted, Rejected]
ChainStatus = Union[Unknown, Seen, Confirmed, Conflict]


class Broadcaster(_Broadcaster, ABC):
    """Submits transactions."""

    @abstractmethod
    def submit(self, transaction: SignedTransaction) -> SubmitOutcome:
        """Submits. May be called again with the same transaction."""


class ChainObserver(_ChainObserver, ABC):
    """Looks at the chain."""

    @abstractmethod
    def status(self, query: ChainQuery) -> ChainStatus:
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
