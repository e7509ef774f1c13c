"""Broadcasters, chain observers and log sinks: what an application implements, and what its objects return.

Objects of these classes are called on a thread of the node's own, one call at a time. They may block, and they may
raise: an exception of a Broadcaster means that its Bitcoin backend (node or API) cannot be reached, so the other
signers take over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Union

from . import _ffi
from ._ffi import (
    ChainQuery,
    ChainSource,
    ChainTip,
    LogLevel,
    LogRecord,
    OutPoint,
    SignedTransaction,
    SourceOptions,
    SpentOutput,
)

if TYPE_CHECKING:

    class _Broadcaster: ...

    class _ChainObserver: ...

    @dataclass
    class Accepted:
        """The Bitcoin backend accepted the transaction, or had it already."""

    @dataclass
    class Rejected:
        """The Bitcoin backend rejected the transaction itself (fee, policy, inputs)."""

        reason: str

    @dataclass
    class NotYetFinal:
        """The transaction is not final yet (a lock time, a relative lock): it is submitted again, and nobody is late."""

    @dataclass
    class Unknown:
        """Neither the transaction nor a conflicting one is known."""

    @dataclass
    class Seen:
        """The transaction is in the mempool."""

    @dataclass
    class Confirmed:
        """The transaction is in a block, which itself counts as a confirmation."""

        height: int
        confirmations: int

    @dataclass
    class Conflict:
        """Another transaction spends one of its inputs and is in a block, which itself counts."""

        txid: str
        confirmations: int

    @dataclass
    class CoinUnspent:
        """The output is in a block, which itself counts as a confirmation, and nothing spends it.

        ``median_time`` is that of the eleven blocks before its own, from which relative locks by time count (BIP-68).
        """

        confirmations: int
        median_time: int | None = None

    @dataclass
    class CoinInMempool:
        """The output's transaction is in the mempool, and nothing there spends it."""

    @dataclass
    class CoinSpent:
        """A transaction in a block or in the mempool spends the output."""

    @dataclass
    class CoinUnknown:
        """The output is not known."""

else:
    _Broadcaster, _ChainObserver = _ffi.Broadcaster, _ffi.ChainObserver
    Accepted, Rejected = _ffi.SubmitOutcome.ACCEPTED, _ffi.SubmitOutcome.REJECTED
    NotYetFinal = _ffi.SubmitOutcome.NOT_YET_FINAL
    Unknown, Seen = _ffi.ChainStatus.UNKNOWN, _ffi.ChainStatus.SEEN
    Confirmed, Conflict = _ffi.ChainStatus.CONFIRMED, _ffi.ChainStatus.CONFLICT
    CoinUnspent, CoinInMempool = _ffi.CoinStatus.UNSPENT, _ffi.CoinStatus.IN_MEMPOOL
    CoinSpent, CoinUnknown = _ffi.CoinStatus.SPENT, _ffi.CoinStatus.UNKNOWN

SubmitOutcome = Union[Accepted, Rejected, NotYetFinal]
ChainStatus = Union[Unknown, Seen, Confirmed, Conflict]
CoinStatus = Union[CoinUnspent, CoinInMempool, CoinSpent, CoinUnknown]


class Broadcaster(_Broadcaster, ABC):
    """Interface to a Bitcoin backend that submits transactions."""

    @abstractmethod
    def submit(self, transaction: SignedTransaction) -> SubmitOutcome:
        """Submits a transaction, perhaps not for the first time."""


class ChainObserver(_ChainObserver, ABC):
    """Interface to a Bitcoin backend that looks transactions up."""

    @abstractmethod
    def status(self, query: ChainQuery) -> ChainStatus:
        """Looks a transaction up."""

    def coin(self, outpoint: OutPoint) -> CoinStatus | None:
        """Looks an output up, before this node consents to a transaction that spends it. None: it cannot tell."""
        return None

    def tip(self) -> ChainTip | None:
        """Looks the last block up, if a transaction has a lock. None: it cannot tell."""
        return None

    def congested(self) -> bool | None:
        """Whether the chain is congested, so that coordinators are given a longer pace. None: it cannot tell."""
        return None


_auth: Any = _ffi.CoreAuth


def bitcoin_core(
    address: str,
    *,
    cookie_file: str | PathLike[str] | None = None,
    user: str | None = None,
    password: str = "",
    options: SourceOptions | None = None,
) -> ChainSource:
    """A Bitcoin node by JSON-RPC, such as ``http://127.0.0.1:8332``, with the ``.cookie`` in its data directory, or a user.

    Other backends: ``ChainSource.esplora``, ``ChainSource.electrum``, and several as one, ``ChainSource.combined``.
    """
    if cookie_file is not None:
        auth = _auth.COOKIE_FILE(fspath(cookie_file))
    else:
        auth = _auth.WITHOUT_LOGIN() if user is None else _auth.PASSWORD(user, password)
    return ChainSource.bitcoin_core(address, auth, options)


class LogSink(_ffi.LogSink, ABC):
    """Receiver of a node's log records. Its exceptions are ignored."""

    @abstractmethod
    def log(self, record: LogRecord) -> None:
        """Takes one record."""


__all__ = [
    "Accepted",
    "Broadcaster",
    "ChainObserver",
    "ChainQuery",
    "ChainSource",
    "ChainStatus",
    "ChainTip",
    "CoinInMempool",
    "CoinSpent",
    "CoinStatus",
    "CoinUnknown",
    "CoinUnspent",
    "Confirmed",
    "Conflict",
    "LogLevel",
    "LogRecord",
    "LogSink",
    "NotYetFinal",
    "OutPoint",
    "Rejected",
    "Seen",
    "SignedTransaction",
    "SourceOptions",
    "SpentOutput",
    "SubmitOutcome",
    "Unknown",
    "bitcoin_core",
]
