"""The node, with a Python interface."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, TypeVar, Union, cast

from . import _exit, _ffi
from ._ffi import (
    Derivation,
    DhtMode,
    ElectionMethod,
    FailoverPreset,
    KeyDerivation,
    KeyOrder,
    KeySet,
    LocalSigner,
    JoinOptions,
    LogLevel,
    Message,
    MetricSample,
    Metrics,
    MetricsFormat,
    OwnDescriptor,
    Reputation,
    RuntimeProfile,
    Session,
    SessionStatus,
    SighashType,
    SpentOutput,
)
from .chain import Broadcaster, ChainObserver, ChainSource, LogSink
from .errors import InvalidArgument, NodeStopped
from .events import EventData
from .group import Group
from .psbt import Descriptor, Psbt
from .signer import PsbtSigner, Signer

# The generated variants are no subclasses of their enumeration in the eyes of a type checker.
_stores: Any = _ffi.StoreChoice
_tiers: Any = _ffi.Tiers
_broadcast: Any = _ffi.Broadcast

Seconds = Union[timedelta, float]
"""A duration: a timedelta, or a number of seconds."""


def _duration(value: Seconds | None) -> timedelta | None:
    return timedelta(seconds=value) if isinstance(value, (int, float)) else value


T = TypeVar("T")
_finishing: set[asyncio.Task[Any]] = set()


async def _finish(call: Coroutine[Any, Any, T]) -> T:
    """Waits for a call that answers with an object. It is finished even if its caller is cancelled: an answer that
    nobody took would exist for ever."""

    def done(task: asyncio.Task[T]) -> None:
        _finishing.discard(task)
        if not task.cancelled():
            task.exception()

    task = asyncio.ensure_future(call)
    _finishing.add(task)
    task.add_done_callback(done)
    return await asyncio.shield(task)


class NodeEvent:
    """Event of a node. ``data`` is one of the classes in ``libmusig.events``."""

    __slots__ = ("_node", "data", "durable", "id", "session")

    def __init__(self, node: _ffi.Node, event: _ffi.NodeEvent) -> None:
        self._node = node
        self.id: int = event.id
        """The event's number. After a restart the same event has another one."""
        self.session: str | None = event.session
        """The session's id; none for events of the network."""
        self.data: EventData = cast(EventData, event.event)
        """The event itself."""
        self.durable: bool = event.durable
        """Whether the event is delivered again after a restart until it is acknowledged."""

    def ack(self) -> bool:
        """Acknowledges the event. False if it is not durable, or was acknowledged before."""
        return self._node.event_handled(self.id)

    def __repr__(self) -> str:
        return f"NodeEvent(id={self.id}, session={self.session}, durable={self.durable}, data={self.data})"


Handler = Callable[[NodeEvent], Union[Awaitable[object], object]]


class Node:
    """Node: one signer's sessions, its peers, its store and its Bitcoin backend.

    ``async with Node(...) as node`` starts it, and stops it at the end. Every method may be called from any event
    loop and any thread. Cancelling a call that changes state does not undo it: it goes on.

    ``signer`` holds the identity key. Of the participant keys it is asked first; ``foreign_signer`` holds others, as in a
    device, and with it the identity key signs no session. ``psbt_signer`` takes its place: keys in a device that signs PSBTs.

    ``store`` is a path, or ``":memory:"``. ``source`` is a ready-made Bitcoin backend, which broadcasts and observes. Without
    it, either ``observer`` or ``without_observer=True`` must be given: then the application itself observes the chain and
    calls ``notify_broadcast_complete``.

    Nodes find each other by their keys alone if they have a server in common: ``bootstrap_peers``, and ``relays`` for
    those that cannot be dialled, each an address with its peer id (``/p2p/…``). ``mobile=True`` suits phones.
    ``proxy="socks5h://127.0.0.1:9050"`` (Tor) opens every connection of the node, and nothing goes beside it.
    A node that is dialled shows whose it is only to who looks for its key, to configured peers and servers, and to signers
    of its sessions; with ``hides=False`` to whoever connects.
    ``max_connections`` (256) limits what others may open to it, ``max_connections_per_ip`` (32) what they may from one address.
    """

    def __init__(
        self,
        *,
        signer: LocalSigner,
        foreign_signer: Signer | None = None,
        psbt_signer: PsbtSigner | None = None,
        store: str | os.PathLike[str],
        listen: Iterable[str] = (),
        peers: Iterable[str] = (),
        bootstrap_peers: Iterable[str] = (),
        relays: Iterable[str] = (),
        external: Iterable[str] = (),
        proxy: str | None = None,
        dht: DhtMode | None = None,
        mdns: bool = False,
        hides: bool = True,
        max_connections: int | None = None,
        max_connections_per_ip: int | None = None,
        mobile: bool = False,
        offline: bool = False,
        source: ChainSource | None = None,
        broadcaster: Broadcaster | None = None,
        observer: ChainObserver | None = None,
        without_observer: bool = False,
        log_sink: LogSink | None = None,
        log_level: LogLevel | None = None,
        final_depth: int | None = None,
        early_gone: bool = True,
        early_hold: bool = True,
        early_pace: bool = True,
        stall_after: Seconds | None = None,
        clock_skew: Seconds | None = None,
        claims: bool = True,
        nacks: bool = True,
        max_sessions: int | None = None,
        accepted_proposers: Iterable[str] | None = None,
        runtime: RuntimeProfile | None = None,
    ) -> None:
        path = os.fspath(store)
        self._config = _ffi.NodeConfig(
            store=_stores.MEMORY() if path == ":memory:" else _stores.FILE(path),
            listen=list(listen),
            peers=list(peers),
            bootstrap_peers=list(bootstrap_peers),
            relays=list(relays),
            external=list(external),
            proxy=proxy,
            dht=dht,
            mdns=mdns,
            hides=hides,
            max_connections=max_connections,
            max_connections_per_ip=max_connections_per_ip,
            mobile=mobile,
            offline=offline,
            without_observer=without_observer,
            final_depth=final_depth,
            early_gone=early_gone,
            early_hold=early_hold,
            early_pace=early_pace,
            claims=claims,
            nacks=nacks,
            stall_after=_duration(stall_after),
            clock_skew=_duration(clock_skew),
            max_sessions=max_sessions,
            accepted_proposers=None if accepted_proposers is None else list(accepted_proposers),
            runtime=runtime,
            log_level=log_level,
        )
        self._signer = signer
        if source is not None:
            broadcaster = broadcaster or cast(Broadcaster, source.broadcaster())
            observer = observer or (None if without_observer else cast(ChainObserver, source.observer()))
        self._objects = (foreign_signer, broadcaster, observer, log_sink, psbt_signer)
        self._started: _ffi.Node | None = None

    async def start(self) -> Node:
        """Opens the store, resumes its sessions, and starts the node. If this is cancelled, the node is stopped."""
        if self._started is not None:
            raise InvalidArgument("start", "this node was started already; make a new Node to start again")
        starting = _ffi.Node.start(self._config, self._signer, *self._objects)
        self._started = await _finish(starting)
        _exit.watch(self._started)
        return self

    async def stop(self) -> None:
        """Stops the node, and waits until the store is closed and no object of the application runs or will run.

        Goes on if it is cancelled. Do not wait for it inside a Broadcaster, ChainObserver, Signer or LogSink of this
        node; call ``request_stop`` there.
        """
        if self._started is not None:
            await self._started.stop()
            _exit.forget(self._started)

    async def __aenter__(self) -> Node:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _node(self) -> _ffi.Node:
        if self._started is None:
            raise NodeStopped("the node is not started; use `async with Node(...)` or `await node.start()`")
        return self._started

    async def next_event(self) -> NodeEvent:
        """Waits for the next event and takes it. Cancelling this loses none. One caller at a time.

        Each event is delivered once; a durable one again after a restart, and after ``redeliver``, until its ``ack``.
        """
        node = self._node
        while True:
            event = node.take_event()
            if event is not None:
                return NodeEvent(node, event)
            await node.wait_for_event()

    def wake(self) -> None:
        """Makes a pending wait for an event check again. Cancelling the waiting task is the usual way in Python."""
        self._node.wake()

    async def events(self) -> AsyncIterator[NodeEvent]:
        """All events until the node stops. The body acknowledges by ``event.ack()``."""
        while True:
            try:
                event = await self.next_event()
            except NodeStopped:
                return
            yield event

    async def run(self, handler: Handler) -> None:
        """Calls a function, or coroutine function, with each event until the node stops.

        An event is acknowledged when the handler returns. It is kept when the handler raises, which is logged, and
        when this is cancelled meanwhile: then it is delivered again after a restart or ``redeliver``. Handlers should
        be idempotent.
        """
        async for event in self.events():
            try:
                result = handler(event)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                logging.getLogger("libmusig").exception("the handler kept %r", event)
            else:
                event.ack()

    async def create_session(
        self,
        signers: Sequence[str] | Group,
        *,
        messages: Iterable[bytes | Message] | None = None,
        transaction: bytes | None = None,
        spent: Iterable[SpentOutput] = (),
        psbt: Psbt | bytes | None = None,
        sighash_type: SighashType = SighashType.DEFAULT,
        key_order: KeyOrder = KeyOrder.SORTED,
        key_sets: Iterable[KeySet] = (),
        derivations: Iterable[Derivation | KeyDerivation] = (),
        election_method: ElectionMethod = ElectionMethod.LEXICOGRAPHIC,
        sign_only: bool = False,
        coordinator_only: bool = False,
        broadcast_timeout: Seconds | FailoverPreset | None = None,
        tiers: int | Literal["doubling"] = 1,
        expires_in: Seconds | None = None,
        metadata: bytes = b"",
        replaces: str | None = None,
        consent: JoinOptions | None = None,
    ) -> Session:
        """Proposes a session to its signers, and consents to it. Returns once that is on the disk.

        Give either ``messages`` (32 bytes each), or an unsigned ``transaction`` and the outputs that it has
        ``spent``, or a ``psbt``: then ``key_sets`` say whose its participant keys are, if they are not the identity keys.
        A ``Group`` stands for its signers, and its keys for those of a PSBT.
        ``consent`` is what this node's own consent covers. Progress comes as events.

        The elected coordinator broadcasts, and if it does not, the next signers do: each ``broadcast_timeout`` (5 minutes; or a
        ``FailoverPreset``) after the one before, ``tiers`` of them together. With ``coordinator_only`` nobody takes over, and each node
        raises the alarm after 5 minutes. With ``sign_only`` nobody is asked to broadcast: ``SessionComplete`` is the
        end.

        Key set 0 is the signers' identity keys, key set i + 1 is ``key_sets[i]``; the proposal has those that sign. The
        inputs of a transaction may spend the coins of any number of ``derivations`` (without a key set, those of key
        set 0); by default those of an output without scripts of each key set.
        """
        content: object
        if [messages, transaction, psbt].count(None) != 2:
            raise InvalidArgument("content", "give either messages, or a transaction, or a PSBT")
        if psbt is not None:
            content = _ffi.SessionContent.PSBT(psbt.to_bytes() if isinstance(psbt, Psbt) else psbt)
        elif transaction is not None:
            content = _ffi.SessionContent.TRANSACTION(transaction, list(spent), sighash_type)
        else:
            given = messages if messages is not None else ()
            content = _ffi.SessionContent.MESSAGES(
                [part if isinstance(part, Message) else Message(digest=part) for part in given]
            )
        if tiers == "doubling":
            grouping = _tiers.DOUBLING()
        else:
            grouping = _tiers.SINGLE() if tiers == 1 else _tiers.FIXED(tiers)
        if sign_only or coordinator_only:
            if (sign_only and coordinator_only) or broadcast_timeout is not None or tiers != 1:
                raise InvalidArgument("broadcast", "sign_only and coordinator_only go with no other terms of failover")
            broadcast = _broadcast.SIGN_ONLY() if sign_only else _broadcast.COORDINATOR_ONLY()
        else:
            if isinstance(broadcast_timeout, FailoverPreset):
                broadcast_timeout = _ffi.failover_policy(broadcast_timeout).broadcast_timeout
            policy = _ffi.FailoverPolicy(broadcast_timeout=_duration(broadcast_timeout), tiers=grouping)
            broadcast = _broadcast.FAILOVER(policy)
        request = _ffi.SessionRequest(
            signers=signers.signers() if isinstance(signers, Group) else list(signers),
            content=cast(Any, content),
            key_order=key_order,
            key_sets=[signers.key_set(), *key_sets] if isinstance(signers, Group) else list(key_sets),
            derivations=[
                part if isinstance(part, KeyDerivation) else KeyDerivation(derivation=part) for part in derivations
            ],
            election_method=election_method,
            broadcast=broadcast,
            expires_in=_duration(expires_in),
            metadata=metadata,
            replaces=replaces,
            consent=consent,
        )
        return await _finish(self._node.create_session(request))

    def session(self, session: str) -> Session:
        """A handle for a session, whether or not it exists."""
        return self._node.session(session)

    async def sessions(self) -> list[SessionStatus]:
        """All sessions that the node holds, closed ones too."""
        return await self._node.sessions()

    async def import_sessions(self, data: bytes) -> list[Session]:
        """Imports the bytes that ``Session.export_session`` made. Returns the sessions in them."""
        return await _finish(self._node.import_sessions(data))

    async def add_peer(self, address: str) -> None:
        """Connects to an address, and reconnects whenever the connection is lost."""
        await self._node.add_peer(address)

    async def listen_addresses(self) -> list[str]:
        """The addresses under which others may reach this node: for their ``peers``."""
        return await self._node.listen_addresses()

    async def connected_signers(self) -> list[str]:
        """The keys of the signers that are connected now."""
        return await self._node.connected_signers()

    @property
    def signer_key(self) -> str:
        """This node's signer key."""
        return self._node.signer_key()

    @property
    def peer_id(self) -> str:
        """This node's libp2p peer id. It has nothing to do with the signer key."""
        return self._node.peer_id()

    async def redeliver(self) -> None:
        """Delivers all durable events again that were not acknowledged, under new numbers."""
        await self._node.redeliver()

    async def announce(self) -> None:
        """Signs and publishes this node's presence again, after a locked signer was unlocked."""
        await self._node.announce()

    async def set_accepted_proposers(self, keys: Iterable[str] | None) -> None:
        """Sets the signers whose proposals are taken from now on: those of all others are refused unseen.

        ``None`` takes everybody's, which is the default. It is not stored. A suspended node takes it too.
        """
        await self._node.set_accepted_proposers(None if keys is None else list(keys))

    async def add_descriptor(self, descriptor: Descriptor, next_index: int = 0, gap_limit: int = 20) -> None:
        """Adds a descriptor to the application's own wallet, which is stored.

        Summaries call own what pays to its outputs within the gap limit, and raw messages over its key sets need the
        application's word (``sign_blind``). ``next_index`` is the first index that was not used yet: add the descriptor again
        when it moves. ``gap_limit`` is how many indices from there on the wallet looks at.
        """
        await self._node.add_descriptor(descriptor, next_index, gap_limit)

    async def remove_descriptor(self, descriptor: Descriptor) -> None:
        """Removes a descriptor from the own wallet."""
        await self._node.remove_descriptor(descriptor)

    async def descriptors(self) -> list[OwnDescriptor]:
        """The descriptors of the own wallet."""
        return await self._node.descriptors()

    async def reputation(self, signer: str) -> Reputation:
        """The record of a signer as a coordinator: what this node's own observer showed of it, and nothing that others say.

        It is for a person to read: no turn and no election depends on it. At most 256 signers are remembered.
        """
        return await self._node.reputation(signer)

    async def forget_signer(self, signer: str) -> None:
        """Forgets the record of a signer as a coordinator."""
        await self._node.forget_signer(signer)

    async def network_changed(self) -> None:
        """Replaces all connections and dials again at once, after the device changed its network."""
        await self._node.network_changed()

    async def metrics(self) -> Metrics:
        """A few of the node's metrics; ``metric_samples`` has all."""
        return await self._node.metrics()

    async def metric_samples(self) -> list[MetricSample]:
        """Samples of all of the node's metrics, for any monitoring system."""
        return await self._node.metric_samples()

    async def metrics_text(self, format: MetricsFormat = MetricsFormat.PROMETHEUS) -> str:
        """Text of all of the node's metrics, for Prometheus and what reads its formats."""
        return await self._node.metrics_text(format)

    async def suspend(self) -> None:
        """Suspends the node until ``resume``: commits, closes the store and releases its lock."""
        await self._node.suspend()

    async def resume(self) -> None:
        """Resumes a suspended node: opens the store, connects, and observes the chain before it submits anything."""
        await self._node.resume()

    def request_stop(self) -> None:
        """Asks the node to stop, and does not wait. May be called anywhere."""
        self._node.request_stop()
