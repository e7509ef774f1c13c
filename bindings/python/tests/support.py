"""Nodes, keys, and an imagined chain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, AsyncIterator, Awaitable, Callable, TypeVar

import libmusig
from libmusig import _ffi, chain, events

REPOSITORY = Path(os.environ["MUSIG_REPOSITORY"])
PATIENCE = float(os.environ.get("MUSIG_PATIENCE", "30"))
"""Seconds that anything may take before a test gives up on it."""

T = TypeVar("T")


def secret(index: int) -> bytes:
    return bytes([0x11] * 31 + [index + 1])


def key(index: int) -> str:
    return libmusig.LocalSigner(secret(index)).public_key()


def keys(count: int) -> list[str]:
    return [key(index) for index in range(count)]


def ranked(count: int) -> list[int]:
    """The indices in the order of the lexicographic election."""
    return sorted(range(count), key=key)


def make(index: int, **options: Any) -> libmusig.Node:
    """A node on loopback, with a memory store and no observer, unless the options say otherwise."""
    chosen = {
        "signer": libmusig.LocalSigner(secret(index)),
        "store": ":memory:",
        "listen": ["/ip4/127.0.0.1/tcp/0"],
        "without_observer": "observer" not in options,
        **options,
    }
    return libmusig.Node(**chosen)


def offline(index: int, **options: Any) -> libmusig.Node:
    return make(index, offline=True, listen=[], **options)


async def until(what: str, condition: Callable[[], Awaitable[object]]) -> None:
    end = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < end, f"waited too long until {what}"
        await asyncio.sleep(0.002)


def until_now(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.002)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def address(node: libmusig.Node) -> str:
    await until("it listens", node.listen_addresses)
    return (await node.listen_addresses())[0]


async def connect(*nodes: libmusig.Node) -> None:
    for position, node in enumerate(nodes):
        for other in nodes[:position]:
            await node.add_peer(await address(other))
    for position, node in enumerate(nodes):

        # Whoever was dialled learns who is there, and shows itself to whom it is told of.
        async def dialled(node: libmusig.Node = node, later: int = len(nodes) - 1 - position) -> bool:
            return len(await node.connected_signers()) >= later

        await until("it is dialled", dialled)
        for other in nodes[position + 1 :]:
            await node.add_peer(await address(other))
    for node in nodes:

        async def connected(node: libmusig.Node = node) -> bool:
            return len(await node.connected_signers()) == len(nodes) - 1

        await until("all are connected", connected)


@contextlib.asynccontextmanager
async def slow_line(to: str, delay: float) -> AsyncIterator[str]:
    """An address that leads to another one, and takes so many seconds for everything that is sent, either way."""
    host, port = to.split("/")[2], int(to.split("/")[4])
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        pumps.update(asyncio.ensure_future(each) for each in (pump(reader, back), pump(there, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"/ip4/127.0.0.1/tcp/{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def wait_event(
    node: libmusig.Node, kind: type[T], fits: Callable[[T], bool] = lambda _: True, ack: bool = True
) -> tuple[libmusig.NodeEvent, T]:
    """Takes events until one is of this kind, and acknowledges all (but that one, if `ack` is false)."""
    seen = []

    async def search() -> tuple[libmusig.NodeEvent, T]:
        async for event in node.events():
            seen.append(event)
            if isinstance(event.data, kind) and fits(event.data):
                if ack:
                    event.ack()
                return event, event.data
            event.ack()
        raise AssertionError(f"the node stopped before {kind}; it said {seen}")

    try:
        return await asyncio.wait_for(search(), PATIENCE)
    except asyncio.TimeoutError:
        raise AssertionError(f"waited too long for {kind}; the node said {seen}") from None


async def join_next(node: libmusig.Node, options: libmusig.JoinOptions | None = None) -> libmusig.Session:
    event, _ = await wait_event(node, events.SessionProposed)
    assert event.session is not None
    session = node.session(event.session)
    await session.join(options)
    return session


async def sign(nodes: list[libmusig.Node], **content: Any) -> str:
    """Proposes at the first node, joins at the others, waits until all hold the signatures; the session's id."""
    given = content if "transaction" in content else {"messages": [bytes([7] * 32)], **content}
    session = await nodes[0].create_session([node.signer_key for node in nodes], **given)
    await asyncio.gather(*(join_next(node, content.get("consent")) for node in nodes[1:]))
    await asyncio.gather(*(wait_event(node, events.SessionComplete) for node in nodes))
    return session.id()


def taproot_script(signers: list[str]) -> bytes:
    return output_script(libmusig.key_set(signers), key_path())


def key_path(*path: int) -> libmusig.Derivation:
    return libmusig.Derivation(path=list(path), taproot=libmusig.KeyPath())


def output_script(key_set: libmusig.KeySet, derivation: libmusig.Derivation) -> bytes:
    return bytes.fromhex("5120" + libmusig.final_key(key_set, derivation)[2:])


def spend(signers: list[str], salt: int = 1) -> dict[str, Any]:
    return spend_script(taproot_script(signers), salt)


def spend_script(script: bytes, salt: int = 1, sequence: int = 0xFFFFFFFD) -> dict[str, Any]:
    """An unsigned transaction (BIP-144 without witnesses) that spends one output with this script."""
    transaction = (
        (2).to_bytes(4, "little")
        + b"\x01"
        + bytes([salt] * 32)
        + (0).to_bytes(4, "little")
        + b"\x00"
        + sequence.to_bytes(4, "little")
        + b"\x01"
        + (9_000).to_bytes(8, "little")
        + bytes([len(script)])
        + script
        + (0).to_bytes(4, "little")
    )
    return {"transaction": transaction, "spent": [libmusig.SpentOutput(value=10_000, script=script)]}


class FakeChain:
    """Transactions that were submitted are seen; `mine` buries them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.submitted: list[tuple[str, str]] = []
        self.confirmations = 0

    def mine(self, confirmations: int) -> None:
        with self.lock:
            self.confirmations = confirmations

    def by(self, who: str) -> int:
        with self.lock:
            return sum(1 for name, _ in self.submitted if name == who)


class FakeBroadcaster(libmusig.Broadcaster):
    def __init__(self, fake: FakeChain, who: str, before: Callable[[], object] = lambda: None) -> None:
        self.fake, self.who, self.before = fake, who, before
        self.calls = 0

    def submit(self, transaction: libmusig.SignedTransaction) -> libmusig.SubmitOutcome:
        covered("broadcaster_submit")
        self.calls += 1
        self.before()
        with self.fake.lock:
            self.fake.submitted.append((self.who, transaction.txid))
        return libmusig.Accepted()


class FakeObserver(libmusig.ChainObserver):
    def __init__(self, fake: FakeChain, before: Callable[[], object] = lambda: None) -> None:
        self.fake, self.before = fake, before
        self.calls = 0
        self.before_coin: Callable[[], object] = lambda: None
        self.seen_coin: chain.CoinStatus | None = chain.CoinUnspent(confirmations=7)
        self.last_block: chain.ChainTip | None = None
        self.tips = 0
        self.full: bool | None = None
        self.congestions = 0

    def status(self, query: libmusig.ChainQuery) -> libmusig.ChainStatus:
        covered("chainobserver_status")
        self.calls += 1
        self.before()
        with self.fake.lock:
            known = any(txid == query.txid for _, txid in self.fake.submitted)
            if not known:
                return chain.Unknown()
            if self.fake.confirmations:
                return chain.Confirmed(height=100, confirmations=self.fake.confirmations)
            return chain.Seen()

    def coin(self, outpoint: libmusig.OutPoint) -> chain.CoinStatus | None:
        covered("chainobserver_coin")
        assert len(outpoint.txid) == 64 and outpoint.vout == 0
        self.before_coin()
        return self.seen_coin

    def tip(self) -> chain.ChainTip | None:
        covered("chainobserver_tip")
        self.tips += 1
        return self.last_block

    def congested(self) -> bool | None:
        covered("chainobserver_congested")
        self.congestions += 1
        return self.full


FINGERPRINT = bytes.fromhex("3442193e")
ACCOUNT = libmusig.KeyOrigin(fingerprint=FINGERPRINT, path=[1 << 31])
XPRV = (
    "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1r"
    "GL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7"
)
"""The first vector of BIP-32: an account, and a key below it."""
DERIVED = libmusig.Participant(
    key="03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c",
    origin=libmusig.KeyOrigin(fingerprint=FINGERPRINT, path=[1 << 31, 1]),
)


def wallet(count: int, owner: int) -> libmusig.KeySet:
    """Keys of which one is in a foreign signer; the others sign with their identity keys."""
    participants = [libmusig.Participant(key=each) for each in keys(count)]
    participants[owner] = DERIVED
    return libmusig.KeySet(participants=participants)


def wallet_messages(count: int, owner: int, *digests: bytes) -> dict[str, Any]:
    messages = [libmusig.Message(digest=digest, key_set=1) for digest in digests]
    return {"messages": messages, "key_sets": [wallet(count, owner)]}


def wallet_spend(count: int, owner: int, salt: int = 1) -> dict[str, Any]:
    key_set = wallet(count, owner)
    return {**spend_script(output_script(key_set, key_path()), salt), "key_sets": [key_set]}


class WrappingSigner(libmusig.Signer):
    """A signer of the application's own, with an account. It asks a LocalSigner."""

    def __init__(self, index: int, before: Callable[[str], object] = lambda _: None) -> None:
        self.inner = libmusig.LocalSigner(secret(index))
        self.inner.add_xprv(XPRV, ACCOUNT)
        self.before = before

    def holds(self, key: str, origin: libmusig.KeyOrigin | None) -> bool:
        covered("signer_holds")
        self.before("holds")
        return self.inner.holds(key, origin)

    def check(self, request: libmusig.NonceRequest | libmusig.PartialRequest) -> int:
        """The number of messages that it is to sign."""
        proposal, messages = request.proposal(), request.messages()
        assert proposal.signers[request.signer()] == self.inner.public_key()
        assert request.participants() == [DERIVED] * len(messages)
        assert request.participant_keys() == [DERIVED.key] * len(messages)
        assert request.key_sets() == [proposal.messages[message].key_set for message in messages]
        assert [len(part) for part in request.output_keys()] == [32] * len(messages)
        assert request.attempt() >= 0
        return len(messages)

    def make_nonces(self, request: libmusig.NonceRequest) -> list[bytes]:
        covered("signer_make_nonces")
        assert self.check(request) > 0
        self.before("make_nonces")
        return self.inner.make_nonces(request)

    def make_partials(self, request: libmusig.PartialRequest) -> list[bytes]:
        covered("signer_make_partials")
        assert [len(part) for part in request.aggregate_nonces()] == [66] * self.check(request)
        self.before("make_partials")
        return self.inner.make_partials(request)

    def forget(self, session: str, attempt: int) -> None:
        covered("signer_forget")
        self.inner.forget(session, attempt)


COVERED: set[str] = set()
"""Functions of the interface that some test called, or, for foreign objects, that the node called."""


def covered(name: str) -> None:
    COVERED.add(f"method_{name}")


BASELINE: dict[str, int] = {}
"""What existed before the test: one that failed may have left something behind."""


def live() -> dict[str, int]:
    """Objects of the library that exist since the test began."""
    gc.collect()
    counts = _ffi.live_objects().items()
    return {kind: count for kind, count in counts if count > BASELINE.get(kind, 0)}


def assert_nothing_lives() -> None:
    until_now("no object lives", lambda: not live())
