"""Objects of the application: normal, slow and raising; calling back into the node; what is left of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from typing import Any, Callable

import pytest

import libmusig
from libmusig import Phase, chain, errors, events
from support import (
    DERIVED,
    FakeBroadcaster,
    FakeChain,
    FakeObserver,
    WrappingSigner,
    assert_nothing_lives,
    connect,
    covered,
    key,
    key_path,
    keys,
    make,
    offline,
    ranked,
    sign,
    spend,
    spend_script,
    taproot_script,
    until,
    until_now,
    wait_event,
    wallet_messages,
    wallet_spend,
)


class Gate:
    """Holds whoever enters until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.entered.set()
        assert self.opened.wait(30)


def failing(times: int, error: Callable[[], Exception]) -> Callable[..., None]:
    """Raises a new error each time: a kept one would keep what was passed to the method."""
    left = [times]

    def fail(*_: object) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error()

    return fail


async def pair(first_options: dict[str, Any], second_options: dict[str, Any], **terms: Any) -> tuple[Any, Any, str]:
    """The coordinator and its backup, with a finished transaction."""
    first, second = ranked(2)
    coordinator, backup = make(first, **first_options), make(second, **second_options)
    await coordinator.start()
    await backup.start()
    await connect(coordinator, backup)
    nodes = {first: coordinator, second: backup}
    session = await sign([nodes[0], nodes[1]], **spend(keys(2)), **terms)
    return coordinator, backup, session


def test_broadcaster_and_observer() -> None:
    async def main() -> None:
        fake = FakeChain()
        mine = {"broadcaster": FakeBroadcaster(fake, "a"), "observer": FakeObserver(fake), "final_depth": 3}
        a, b, session = await pair(mine, {"observer": FakeObserver(fake), "final_depth": 3}, broadcast_timeout=4)
        await wait_event(b, events.BroadcastSeen)
        fake.mine(3)
        for node in (a, b):

            async def final(node: libmusig.Node = node) -> bool:
                return (await node.session(session).status()).phase is Phase.FINAL

            await until("the watch ends", final)
        assert fake.by("a") == 1
        await a.stop()
        await b.stop()

    asyncio.run(main())
    assert_nothing_lives()


def test_raw_message_over_a_wallet_key_needs_the_word_of_the_application() -> None:
    async def main() -> None:
        blind = libmusig.JoinOptions(sign_blind=True)
        async with offline(0) as a, offline(1) as b:
            derived = [libmusig.Message(digest=bytes([1] * 32), derivation=key_path(0, 7))]
            with pytest.raises(errors.ConsentRefused, match="message 0 .* a Taproot output key") as refused:
                await a.create_session(keys(2), messages=derived)
            assert refused.value.problem == libmusig.ConsentProblem.BLIND_MESSAGE(0, None)
            proposed = await a.create_session(keys(2), messages=derived, consent=blind)
            [session] = await b.import_sessions(await proposed.export_session())
            with pytest.raises(errors.ConsentRefused):
                await session.join()
            await session.join(blind)
            # The same keys, without and with a transaction that they sign.
            raw = [bytes([2] * 32)]
            await a.create_session(keys(2), messages=raw)
            wallet = await a.create_session(keys(2), **spend(keys(2)))
            with pytest.raises(errors.ConsentRefused, match="sign_blind") as known:
                await a.create_session(keys(2), messages=raw)
            assert known.value.problem == libmusig.ConsentProblem.BLIND_MESSAGE(0, wallet.id())
            await a.create_session(keys(2), messages=raw, consent=blind)

    asyncio.run(main())
    assert_nothing_lives()


def test_lock_time_is_waited_for_as_long_as_the_observer_says() -> None:
    async def main() -> None:
        fake = FakeChain()
        observer = FakeObserver(fake)
        observer.seen_coin = chain.CoinUnspent(confirmations=1, median_time=5_000)
        observer.last_block = chain.ChainTip(height=100, median_time=6_023)
        async with offline(0, broadcaster=FakeBroadcaster(fake, "a"), observer=observer) as node:
            # 1,024 s after the coin's block (BIP-68).
            terms = spend_script(taproot_script(keys(1)), sequence=1 << 22 | 2)
            await node.create_session(keys(1), broadcast_timeout=1, **terms)
            await asyncio.to_thread(until_now, "it asked often", lambda: observer.tips > 8)
            assert not fake.submitted
            observer.last_block = chain.ChainTip(height=101, median_time=6_024)
            await wait_event(node, events.BroadcastSeen)
            assert len(fake.submitted) == 1

    asyncio.run(main())
    assert_nothing_lives()


@pytest.mark.parametrize("congested", [True, False, None, Exception("no route")])
def test_observer_says_whether_the_chain_is_congested(congested: bool | Exception | None) -> None:
    class Congestion(FakeObserver):
        def congested(self) -> bool | None:
            self.full = True
            super().congested()
            if isinstance(congested, Exception):
                raise congested
            return congested

    async def main() -> None:
        observer = Congestion(FakeChain())
        async with offline(0, observer=observer) as node:
            await node.create_session(keys(1), broadcast_timeout=1, **spend(keys(1)))
            if isinstance(congested, Exception):
                _, failed = await wait_event(node, events.ObserverFailed)
                assert "no route" in failed.reason
            await asyncio.to_thread(until_now, "it looked often", lambda: observer.calls > 3)
            assert observer.congestions == 1
            [said] = [
                sample.value
                for sample in await node.metric_samples()
                if sample.name == "musig_chain_congested"
            ]
            assert said == int(congested is True)

    asyncio.run(main())
    assert_nothing_lives()


def test_lock_time_that_a_broadcaster_answers_is_neither_a_refusal_nor_an_alarm() -> None:
    async def main() -> None:
        fake = FakeChain()

        class Early(FakeBroadcaster):
            early = 0

            def submit(self, transaction: libmusig.SignedTransaction) -> libmusig.SubmitOutcome:
                if self.early == 3:
                    return super().submit(transaction)
                self.early += 1
                return chain.NotYetFinal()

        broadcaster = Early(fake, "a")
        async with offline(0, broadcaster=broadcaster, observer=FakeObserver(fake)) as node:
            await node.create_session(keys(1), broadcast_timeout=1, **spend(keys(1)))
            async for event in node.events():
                event.ack()
                assert not isinstance(event.data, (events.BroadcastRejected, events.FailoverExhausted))
                if isinstance(event.data, events.BroadcastSeen):
                    break
            assert (broadcaster.early, broadcaster.calls) == (3, 1)

    asyncio.run(main())
    assert_nothing_lives()


def test_unbroadcast_parent_needs_the_word_of_the_application() -> None:
    async def main() -> None:
        fake = FakeChain()
        observer = FakeObserver(fake)
        a, b = offline(0), offline(1, observer=observer)
        await a.start()
        await b.start()
        proposed = await a.create_session(keys(2), **spend(keys(2)))
        [session] = await b.import_sessions(await proposed.export_session())
        observer.seen_coin = chain.CoinUnknown()
        with pytest.raises(errors.ConsentRefused, match="unknown to the Bitcoin backend") as unknown:
            await session.join()
        problem = unknown.value.problem
        assert isinstance(problem, libmusig.ConsentProblem.MISSING_COIN)
        assert problem.input == 0 and not problem.spent and problem.coin.txid == "01" * 32
        observer.seen_coin = chain.CoinSpent()
        with pytest.raises(errors.ConsentRefused, match="spent already"):
            await session.join()
        observer.before_coin = failing(1, lambda: errors.ChainUnreachable("no route"))
        with pytest.raises(errors.ConsentRefused, match="no route") as failed:
            await session.join(libmusig.JoinOptions(allow_unverified_inputs=True))
        assert isinstance(failed.value.problem, libmusig.ConsentProblem.COINS_NOT_KNOWN)
        # One that cannot tell refuses nothing, and so does one that sees it in the mempool.
        await session.join(libmusig.JoinOptions(allow_missing_coins=True))
        for salt, answer in enumerate([None, chain.CoinInMempool(), chain.CoinUnspent(confirmations=1)], 2):
            observer.seen_coin = answer
            await b.create_session(keys(2), **spend(keys(2), salt))
        observer.seen_coin = chain.CoinSpent()
        allowed = libmusig.JoinOptions(allow_missing_coins=True)
        await b.create_session(keys(2), consent=allowed, **spend(keys(2), 9))
        await a.stop()
        await b.stop()

    asyncio.run(main())
    assert_nothing_lives()


@pytest.mark.parametrize(
    "error", [lambda: errors.ChainUnreachable("no route"), lambda: ValueError("else")], ids=["typed", "any"]
)
def test_a_broadcaster_that_raises_excuses_itself(error: Callable[[], Exception]) -> None:
    async def main() -> None:
        fake = FakeChain()
        broken = FakeBroadcaster(fake, "broken", failing(10**6, error))
        mine = {"broadcaster": broken, "observer": FakeObserver(fake)}
        other = {"broadcaster": FakeBroadcaster(fake, "b"), "observer": FakeObserver(fake)}
        # The turn would last an hour: the backup's comes at once all the same.
        a, b, _ = await pair(mine, other, broadcast_timeout=3600)
        _, turn = await wait_event(b, events.ShouldBroadcast)
        assert turn.turn == 1
        await wait_event(a, events.BroadcastSeen)
        assert broken.calls >= 1 and fake.by("b") == 1 and fake.by("broken") == 0
        await a.stop()
        await b.stop()

    asyncio.run(main())
    assert_nothing_lives()


def test_a_slow_broadcaster_delays_no_other_session() -> None:
    async def main() -> None:
        fake, gate = FakeChain(), Gate()
        mine = {"broadcaster": FakeBroadcaster(fake, "slow", gate), "observer": FakeObserver(fake)}
        other = {"broadcaster": FakeBroadcaster(fake, "b"), "observer": FakeObserver(fake)}
        a, b, session = await pair(mine, other, broadcast_timeout=1)
        await asyncio.to_thread(gate.entered.wait, 30)
        nodes = sorted((a, b), key=lambda node: keys(2).index(node.signer_key))
        blind = libmusig.JoinOptions(sign_blind=True)
        second = await sign(nodes, messages=[bytes([9] * 32)], consent=blind)
        assert await a.session(second).final_signatures()
        await wait_event(b, events.BroadcastSeen, lambda _: True)
        assert fake.by("b") == 1
        gate.opened.set()
        await a.stop()
        await b.stop()

    asyncio.run(main())
    assert_nothing_lives()


def test_broadcaster_failed_has_the_words_of_the_exception() -> None:
    """The most likely mistake: a name that is misspelt in a method that nobody sees."""

    class Misspelt(libmusig.Broadcaster):
        def submit(self, transaction: libmusig.SignedTransaction) -> libmusig.SubmitOutcome:
            covered("broadcaster_submit")
            return transaction.send()  # type: ignore[attr-defined, no-any-return]

    async def main() -> None:
        fake = FakeChain()
        observer = FakeObserver(fake, failing(2, lambda: KeyError("height")))
        async with offline(0, broadcaster=Misspelt(), observer=observer) as node:
            session = await node.create_session(keys(1), **spend(keys(1)))
            event, submitted = await wait_event(node, events.Submitted)
            assert (event.session, event.durable) == (session.id(), False)
            assert submitted.outcome is libmusig.Submission.UNREACHABLE and "send" in str(submitted.words)
        async with offline(0, broadcaster=Misspelt(), observer=observer) as node:
            session = await node.create_session(keys(1), **spend(keys(1)))
            event, failed = await wait_event(node, events.BroadcasterFailed)
            assert (event.session, failed.failures) == (session.id(), 1)
            assert "'SignedTransaction' object has no attribute 'send'" in failed.reason
        observer = FakeObserver(fake, failing(10**6, lambda: KeyError("height")))
        async with offline(0, broadcaster=FakeBroadcaster(fake, "a"), observer=observer) as node:
            await node.create_session(keys(1), **spend(keys(1), 2))
            _, blind = await wait_event(node, events.ObserverFailed)
            assert "height" in blind.reason and blind.failures == 1

    asyncio.run(main())
    assert_nothing_lives()


def test_presets_of_the_timeout_are_values_of_the_proposal() -> None:
    preset = libmusig.FailoverPreset
    seconds = {each: libmusig.failover_policy(each).broadcast_timeout for each in preset}
    assert {each.name: time.total_seconds() for each, time in seconds.items() if time is not None} == {
        "LOCAL_TEST": 30, "LOW_VALUE": 120, "STANDARD": 300, "HIGH_VALUE": 600, "SATELLITE": 900
    }

    async def main() -> None:
        async with offline(0) as a, offline(1) as b:
            session = await a.create_session(
                keys(2), messages=[bytes([7] * 32)], broadcast_timeout=preset.SATELLITE, tiers=2
            )
            await b.import_sessions(await session.export_session())
            _, proposed = await wait_event(b, events.SessionProposed)
            mode = proposed.proposal.broadcast
            assert isinstance(mode, libmusig.Broadcast.FAILOVER)
            assert mode.policy.broadcast_timeout == seconds[preset.SATELLITE]

    asyncio.run(main())
    assert_nothing_lives()


def test_log_in_pythons_own_has_session_time_and_level() -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("test_of_libmusig")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Keep())
    logger.propagate = False

    def find(words: str) -> logging.LogRecord | None:
        return next((each for each in records if words in each.getMessage()), None)

    async def main() -> None:
        fake = FakeChain()
        begun = time.time()
        options = {"log_sink": libmusig.logging_sink(logger), "log_level": libmusig.LogLevel.DEBUG}
        broken = FakeBroadcaster(fake, "a", failing(1, lambda: RuntimeError("100 %s sure")))
        async with offline(0, broadcaster=broken, observer=FakeObserver(fake), **options) as node:
            session = await node.create_session(keys(1), **spend(keys(1)))
            await wait_event(node, events.BroadcastSeen)
            for words, name, level in (
                ("it is this node's turn", "session", logging.INFO),
                ("the broadcaster failed", "chain", logging.WARNING),
                ("a submission was answered", "chain", logging.DEBUG),
                ("the transaction was seen", "session", logging.INFO),
            ):
                until_now(words, lambda words=words: find(words))  # type: ignore[misc]
                record = find(words)
                assert record is not None
                assert (record.name, record.levelno) == (f"test_of_libmusig.{name}", level)
                assert vars(record)["session"] == session.id() and vars(record)["dropped"] == 0
                assert begun - 1 <= record.created <= time.time()
            failed = find("the broadcaster failed")
            assert failed is not None and "100 %s sure" in failed.getMessage()

    asyncio.run(main())
    assert not [each for each in records if each.levelno > logging.DEBUG and "libp2p" in each.name]
    assert_nothing_lives()


def test_a_rejection_is_an_event() -> None:
    class Refusing(libmusig.Broadcaster):
        def submit(self, transaction: libmusig.SignedTransaction) -> libmusig.SubmitOutcome:
            covered("broadcaster_submit")
            return chain.Rejected("min relay fee not met")

    async def main() -> None:
        fake = FakeChain()
        mine = {"broadcaster": Refusing(), "observer": FakeObserver(fake)}
        a, b, session = await pair(mine, {}, broadcast_timeout=3600)
        _, rejected = await wait_event(a, events.BroadcastRejected)
        assert rejected.reason == "min relay fee not met"
        # It is a NACK: the other one's turn comes an hour early. Once that one cannot either, nobody can.
        await wait_event(b, events.ShouldBroadcast)
        await b.session(session).report_broadcast_failed("no signal")
        _, nobody = await wait_event(a, events.NobodyCanBroadcast)
        assert (nobody.turns, nobody.accepted, nobody.unreachable) == (2, 0, 0) and nobody.rejected >= 1
        first, second = ranked(2)
        said = {first: libmusig.NackKind.REJECTED, second: libmusig.NackKind.UNREACHABLE}
        assert {nack.signer: nack.kind for nack in nobody.nacks} == said
        assert nobody.rejection == "min relay fee not met" and nobody.claims == []
        await a.stop()
        await b.stop()

    asyncio.run(main())
    assert_nothing_lives()


@pytest.mark.parametrize("kind", ["raising", "slow"])
def test_an_observer_that_does_not_answer_delays_no_broadcast(kind: str) -> None:
    async def main() -> None:
        fake, gate = FakeChain(), Gate()
        before = failing(10**6, lambda: RuntimeError("no answer")) if kind == "raising" else gate
        observer = FakeObserver(fake, before)
        mine = {"broadcaster": FakeBroadcaster(fake, "a"), "observer": observer}
        a, b, session = await pair(mine, {}, broadcast_timeout=3600)

        async def submitted() -> bool:
            status = await a.session(session).status()
            return status.failover is not None and status.failover.submissions >= 1

        await until("it submits", submitted)
        until_now("the observer is asked", lambda: observer.calls)
        gate.opened.set()
        await a.stop()
        await b.stop()

    asyncio.run(main())
    assert_nothing_lives()


@pytest.mark.parametrize("call", ["none", "holds", "make_nonces", "make_partials"])
def test_key_sets_of_a_foreign_signer(call: str) -> None:
    """Works; and when it raises once, that is said, and the session goes on."""
    fail = failing(1, lambda: errors.SignerFailed(libmusig.SignerProblem.OTHER(), "the device is busy"))

    async def main() -> None:
        signer = WrappingSigner(1)
        signer.before = lambda name: fail() if name == call else None
        async with make(0) as a, make(1, foreign_signer=signer) as b:
            await connect(a, b)
            session = await a.create_session(keys(2), **wallet_messages(2, 1, bytes(32), bytes([1] * 32)))

            async def said() -> None:
                _, failed = await wait_event(b, events.SignerFailed)
                assert "the device is busy" in failed.reason

            if call == "holds":
                await said()
            await wait_event(b, events.SessionProposed)
            await b.session(session.id()).join()
            if call in ("make_nonces", "make_partials"):
                await said()
            await wait_event(b, events.SessionComplete)
            await wait_event(a, events.SessionComplete)
            await b.session(session.id()).abandon_session()

    asyncio.run(main())
    assert_nothing_lives()


def test_a_slow_signer_blocks_nothing_else() -> None:
    async def main() -> None:
        gate = Gate()
        signer = WrappingSigner(1)
        async with make(0) as a, make(1, foreign_signer=signer) as b:
            await connect(a, b)
            signer.before = lambda name: gate() if name == "make_nonces" else None
            session = await a.create_session(keys(2), **wallet_messages(2, 1, bytes(32)))
            await wait_event(b, events.SessionProposed)
            await b.session(session.id()).join()
            await asyncio.to_thread(gate.entered.wait, 30)
            assert (await b.metrics()).sessions == 1
            assert len(await b.sessions()) == 1
            gate.opened.set()
            await wait_event(b, events.SessionComplete)

    asyncio.run(main())
    assert_nothing_lives()


def test_key_sets_that_a_foreign_signer_does_not_hold() -> None:
    async def main() -> None:
        signer = WrappingSigner(0)
        async with offline(0, foreign_signer=signer) as node:

            async def problem(kind: type[Any], terms: dict[str, Any]) -> Any:
                with pytest.raises(kind) as refused:
                    await node.create_session(keys(1), **terms)
                return refused.value.problem

            good = wallet_messages(1, 0, bytes(32))
            # It cannot find its key without the origin.
            lost = libmusig.KeySet(participants=[libmusig.Participant(key=DERIVED.key)])
            missing = await problem(errors.ProposalRefused, {**good, "key_sets": [lost]})
            assert missing == libmusig.ProposalProblem.KEY_NOT_HELD(DERIVED.key)
            # With a foreign signer the identity key signs no session.
            missing = await problem(errors.ProposalRefused, {"messages": [bytes(32)]})
            assert missing == libmusig.ProposalProblem.KEY_NOT_HELD(key(0))
            # One that cannot say is not one that says no.
            locked = failing(1, lambda: errors.SignerFailed(libmusig.SignerProblem.LOCKED(), "enter the PIN"))
            signer.before = locked
            assert isinstance(await problem(errors.SignerFailed, good), libmusig.SignerProblem.LOCKED)
            signer.before = failing(1, lambda: KeyError("a bug"))
            assert isinstance(await problem(errors.SignerFailed, good), libmusig.SignerProblem.OTHER)
            session = await node.create_session(keys(1), **good)
            await wait_event(node, events.SessionComplete)
            assert await session.final_signatures()

    asyncio.run(main())
    assert_nothing_lives()


def test_calling_back_from_every_foreign_object() -> None:
    """Broadcaster, observer, signer and log sink ask the node that calls them."""
    asked: set[str] = set()
    node_of: list[libmusig.Node] = []

    def ask(who: str) -> Callable[..., None]:
        def call(*_: object) -> None:
            if node_of:
                asyncio.run(node_of[0].metrics())
                asyncio.run(node_of[0].sessions())
                assert len(node_of[0].signer_key) == 66
                asked.add(who)

        return call

    class Log(libmusig.LogSink):
        def log(self, record: libmusig.LogRecord) -> None:
            covered("logsink_log")
            assert record.target and record.text
            ask("log")()
            raise RuntimeError("ignored")

    async def main() -> None:
        fake = FakeChain()
        first = ranked(2)[0]
        mine = {
            "foreign_signer": WrappingSigner(first, ask("signer")),
            "broadcaster": FakeBroadcaster(fake, "a", ask("broadcaster")),
            "observer": FakeObserver(fake, ask("observer")),
            "log_sink": Log(),
            "log_level": libmusig.LogLevel.TRACE,
        }
        a = make(first, **mine)
        async with a, make(ranked(2)[1]) as b:
            node_of.append(a)
            await connect(a, b)
            nodes = sorted((a, b), key=lambda node: keys(2).index(node.signer_key))
            await sign(nodes, **wallet_spend(2, first))
            await wait_event(a, events.BroadcastSeen)
            node_of.clear()

    asyncio.run(main())
    assert {"signer", "broadcaster", "observer"} <= asked
    assert_nothing_lives()


def test_foreign_objects_are_let_go() -> None:
    async def main() -> list[weakref.ref[object]]:
        fake = FakeChain()
        objects = [FakeBroadcaster(fake, "a"), FakeObserver(fake), WrappingSigner(0)]
        async with offline(0, broadcaster=objects[0], observer=objects[1], foreign_signer=objects[2]) as node:
            await node.metrics()
        return [weakref.ref(each) for each in objects]

    references = asyncio.run(main())

    def gone() -> bool:
        gc.collect()
        return all(reference() is None for reference in references)

    until_now("Python's objects are gone", gone)
    assert_nothing_lives()
