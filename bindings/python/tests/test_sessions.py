"""Sessions between real nodes on loopback."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import libmusig
from libmusig import Phase, ProposalProblem, errors, events
from support import (
    PATIENCE,
    FakeBroadcaster,
    FakeChain,
    FakeObserver,
    address,
    connect,
    join_next,
    key,
    key_path,
    keys,
    make,
    offline,
    output_script,
    ranked,
    secret,
    sign,
    slow_line,
    spend,
    spend_script,
    taproot_script,
    until,
    wait_event,
)


def test_three_of_three() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b, make(2) as c:
            await connect(a, b, c)
            session = await sign([a, b, c], messages=[bytes([1] * 32), bytes([2] * 32)])
            found = [await node.session(session).final_signatures() for node in (a, b, c)]
            assert found[0] == found[1] == found[2] and [len(part) for part in found[0] or []] == [64, 64]
            election = await a.session(session).election()
            assert election.priority_list == ranked(3) == await b.session(session).priority_list()
            chosen = (a, b, c)[ranked(3)[0]]
            for node in (a, b, c):
                handle = node.session(session)
                assert await handle.is_coordinator() is (node is chosen)
                assert await handle.coordinator_peer_id() == chosen.peer_id
                assert await handle.final_transaction() is None
            status = await a.session(session).status()
            assert status.phase is Phase.WATCHING and status.failover is not None
            assert status.failover.coordinator == ranked(3)[0]
            assert [each.session for each in await a.sessions()] == [session]
            assert (await a.metrics()).frames_sent > 0

    asyncio.run(main())


def test_unreachable_peer_and_what_is_known_of_missing_signers() -> None:
    lines: list[libmusig.LogRecord] = []

    class Sink(libmusig.LogSink):
        def log(self, record: libmusig.LogRecord) -> None:
            lines.append(record)

    async def main() -> None:
        options: dict[str, Any] = {"peers": ["/ip4/127.0.0.1/tcp/1"], "stall_after": timedelta(milliseconds=100)}
        async with make(0, log_sink=Sink(), **options) as node:
            _, data = await wait_event(node, events.PeerUnreachable)
            assert (data.address, data.signer) == ("/ip4/127.0.0.1/tcp/1", None)
            assert "refused" in data.cause and data.next_try_at is not None

            async def logged() -> bool:
                return any("cannot be reached" in line.text and "tcp/1" in line.text for line in lines)

            await until("it is in the log", logged)
            assert {line.level for line in lines if "reached" in line.text} == {libmusig.LogLevel.INFO}
            session = await node.create_session(keys(2), messages=[bytes(32)])
            _, stalled = await wait_event(node, events.SessionStalled)
            assert stalled.missing == [1] == [each.signer for each in stalled.signers]
            own, other = (await session.status()).signers
            assert own.connected and own.consented and own.last_seen is not None
            assert not other.connected and not other.consented and other.last_seen is None

    asyncio.run(main())


def test_clock_skew_is_told_beyond_what_is_tolerated() -> None:
    async def main() -> None:
        # What takes long on its way looks like a clock that is late: nobody's clock can be set here.
        async with make(0, hides=False) as other, slow_line(await address(other), 0.1) as through:
            async with make(1, peers=[through], clock_skew=timedelta(milliseconds=50)) as node:
                for number in range(3):
                    await node.create_session(keys(2), messages=[bytes([number]) * 32])
                event, skew = await wait_event(node, events.ClockSkew)
                assert (event.session, event.durable) == (None, False)
                assert skew.signer == key(0) and -60_000 < skew.offset_ms <= -100
                # Of two clocks nobody can say which one is wrong.
                assert skew.own_suspect is False
                series = [each for each in await node.metric_samples() if each.name == "musig_clock_offset_seconds"]
                assert {each.labels["signer"] for each in series} >= {key(0)[:8], "other"}

    asyncio.run(main())


def test_first_contact_by_an_address_alone_shows_the_signer_if_it_is_told_to() -> None:
    async def main() -> None:
        async with make(0, hides=False, max_connections_per_ip=4) as open_node, make(0, max_connections=8) as hidden:
            addresses = [await address(node) for node in (open_node, hidden)]
            async with make(1, peers=addresses[:1]) as other:
                _, data = await wait_event(other, events.PeerConnected)
                assert data.signer == keys(1)[0]
            # By default the one that was dialled learns who is there, and the other one does with its first session.
            async with make(1, peers=addresses[1:]) as other:
                _, data = await wait_event(hidden, events.PeerConnected)
                assert data.signer == keys(2)[1]
                await other.create_session(keys(2), messages=[bytes(32)])
                _, data = await wait_event(other, events.PeerConnected)
                assert data.signer == keys(1)[0]

    asyncio.run(main())


def test_through_proxy_onion_services_are_dialled_and_not_without() -> None:
    onion = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234"

    async def main() -> None:
        for options in ({}, {"proxy": "http://127.0.0.1:8080"}):
            with pytest.raises(errors.InvalidConfig):
                await make(0, listen=[], peers=[onion], **options).start()
        async with make(0, listen=[], peers=[onion], external=[onion], proxy="socks5h://127.0.0.1:1") as node:
            _, data = await wait_event(node, events.PeerUnreachable)
            assert data.address == onion and "the proxy 127.0.0.1:1" in data.cause
            assert await node.listen_addresses() in ([], [f"{onion}/p2p/{node.peer_id}"])

    asyncio.run(main())


def test_two_key_sets_of_a_wallet() -> None:
    """The participant keys of signer i are those of the numbers 20 + i and 40 + i."""

    async def main() -> None:
        signers = [libmusig.LocalSigner(secret(index)) for index in range(2)]
        wallet = libmusig.key_set([key(20), key(21)])
        other = libmusig.key_set([key(40), key(41)], libmusig.KeyOrder.AS_GIVEN)
        root = libmusig.Derivation(taproot=libmusig.MerkleRoot(bytes([9] * 32)))
        messages = [
            libmusig.Message(digest=bytes([1] * 32), key_set=1, derivation=key_path(0, 7)),
            libmusig.Message(digest=bytes([2] * 32), key_set=2, derivation=root),
            libmusig.Message(digest=bytes([3] * 32), key_set=1),
        ]
        blind = libmusig.JoinOptions(sign_blind=True)
        terms: dict[str, Any] = {"messages": messages, "key_sets": [wallet, other], "consent": blind}
        async with make(0, signer=signers[0]) as a, make(1, signer=signers[1]) as b:
            await connect(a, b)
            with pytest.raises(errors.ProposalRefused) as refused:
                await a.create_session(keys(2), **terms)
            assert refused.value.problem == ProposalProblem.KEY_NOT_HELD(key(20))
            # A signer adds its keys while its node runs.
            for index, signer in enumerate(signers):
                for number in (20 + index, 40 + index):
                    assert signer.add_key(secret(number)) == key(number)
            session = await sign([a, b], **terms)
            found = [await node.session(session).final_signatures() for node in (a, b)]
            assert found[0] == found[1] and [len(part) for part in found[0] or []] == [64] * 3
            for node in (a, b):
                proposal = await node.session(session).proposal()
                assert proposal.signers == keys(2) and proposal.key_sets == [wallet, other]
                assert [(part.key_set, part.derivation) for part in proposal.messages] == [
                    (0, key_path(0, 7)),
                    (1, root),
                    (0, libmusig.Derivation()),
                ]
                assert libmusig.decode_proposal(proposal.encoded) == proposal

            async def problem(**changes: Any) -> object:
                with pytest.raises(errors.ProposalRefused) as refused:
                    await a.create_session(keys(2), **{**terms, **changes})
                return refused.value.problem

            # The identity keys are none that these signers sign with any more.
            assert await problem(messages=[bytes(32)]) == ProposalProblem.KEY_NOT_HELD(key(0))
            missing = [libmusig.Message(digest=bytes(32), key_set=3)]
            assert await problem(messages=missing) == ProposalProblem.INDEX("key set", 3)
            hardened = libmusig.Message(digest=bytes(32), key_set=1, derivation=key_path(1 << 31))
            assert await problem(messages=[hardened]) == ProposalProblem.HARDENED_CHILD(1 << 31)
            for wrong in ([key(20), key(20)], [key(20), key(0)]):
                participants = [libmusig.Participant(key=each) for each in wrong]
                given = [libmusig.KeySet(participants=participants), other]
                assert await problem(key_sets=given) == ProposalProblem.DUPLICATE_KEY(0, 1)

    asyncio.run(main())


def test_a_transaction_spends_one_of_600_addresses() -> None:
    async def main() -> None:
        signers = [libmusig.LocalSigner(secret(index)) for index in range(2)]
        origins = [libmusig.KeyOrigin(fingerprint=bytes([index] * 4), path=[1 << 31, 3]) for index in range(2)]
        wallet = libmusig.KeySet(
            participants=[
                libmusig.Participant(key=signer.add_key(secret(20 + index)), origin=origins[index])
                for index, signer in enumerate(signers)
            ],
            order=libmusig.KeyOrder.SORTED,
        )
        addresses = [
            libmusig.KeyDerivation(derivation=key_path(change, index), key_set=1)
            for change in range(2)
            for index in range(300)
        ]
        coin = spend_script(output_script(wallet, key_path(1, 123)))
        async with make(0, signer=signers[0]) as a, make(1, signer=signers[1]) as b:
            await connect(a, b)
            with pytest.raises(errors.ProposalRefused) as refused:
                await a.create_session(keys(2), **coin, key_sets=[wallet])
            assert isinstance(refused.value.problem, ProposalProblem.TRANSACTION)
            session = await sign([a, b], **coin, key_sets=[wallet], derivations=addresses)
            proposal = await b.session(session).proposal()
            # Only the one that is spent travels.
            assert proposal.key_sets == [wallet] and len(proposal.encoded) < 700
            [message] = proposal.messages
            assert (message.key_set, message.derivation) == (0, key_path(1, 123))
            transactions = [await node.session(session).final_transaction() for node in (a, b)]
            assert transactions[0] is not None and transactions[0] == transactions[1]


def test_summary_shows_what_is_signed_and_escapes_hostile_text() -> None:
    async def main() -> None:
        async with offline(0) as node:
            own = taproot_script(keys(1))
            session = await node.create_session(keys(1), metadata="\x1b[2Jrent\u202e".encode(), **spend(keys(1)))
            options = libmusig.SummaryOptions(network=libmusig.Network.REGTEST, own_scripts=[own])
            summary = await session.summary(options)
            assert (summary.session, summary.proposer, summary.signers) == (session.id(), 0, keys(1))
            assert summary.text.endswith("\n> \\u{1b}[2Jrent\\u{202e}\n")
            assert "back to yourself" in summary.text and "0.00001000 BTC" in summary.text
            shown = summary.transaction
            assert shown is not None and (shown.fee, shown.version, shown.replaceable) == (1_000, 2, True)
            assert isinstance(shown.lock, libmusig.TransactionLock.AT_ONCE)
            [paid], [spent] = shown.inputs, shown.outputs
            assert (paid.own, paid.kind, paid.value) == (True, libmusig.InputKind.SESSION, 10_000)
            assert spent.own and spent.address is not None and spent.address.startswith("bcrt1p")
            [message] = summary.messages
            assert message.final_key == own[2:] and message.input == 0
            assert summary.warnings == []
            # The same coin and the same payment again.
            again = await node.create_session(keys(1), **spend(keys(1)))
            [warning] = (await again.summary(options)).warnings
            assert isinstance(warning, libmusig.SummaryWarning.COIN_IN_OTHER_SESSION)
            assert warning.session == session.id() and warning.input == 0
            stranger = libmusig.SummaryOptions(network=libmusig.Network.MAINNET)
            other = await node.create_session(keys(1), **spend(keys(1), salt=2))
            warnings = (await other.summary(stranger)).warnings
            assert len(warnings) == 2
            assert all(isinstance(each, libmusig.SummaryWarning.PAID_BY_OTHER_SESSION) for each in warnings)
            # The same coin, for a lower fee: nodes will not replace the other by it.
            cheap = spend(keys(1))
            cheap["transaction"] = cheap["transaction"].replace((9_000).to_bytes(8, "little"), (9_500).to_bytes(8, "little"))
            bump = await node.create_session(keys(1), **cheap, replaces=session.id())
            [lower] = [
                each
                for each in (await bump.summary(options)).warnings
                if isinstance(each, libmusig.SummaryWarning.LOWER_FEE_RATE)
            ]
            assert lower.session == session.id() and lower.fee_rate < lower.replaced
            consent = libmusig.JoinOptions(sign_blind=True)
            blind = await node.create_session(keys(1), messages=[bytes(32)], consent=consent)
            summary = await blind.summary(stranger)
            assert summary.transaction is None and "signed blind" in summary.text
            assert isinstance(summary.warnings[0], libmusig.SummaryWarning.BLIND)

    asyncio.run(main())


def test_signers_are_found_by_their_keys() -> None:
    async def main() -> None:
        async with make(2, dht=libmusig.DhtMode.SERVER) as server:
            known = {"bootstrap_peers": [await address(server)]}
            # One is set up as on a phone: it listens nowhere, so it looks for the other.
            async with make(0, **known) as a, make(1, listen=[], mobile=True, **known) as b:
                session = await b.create_session(keys(2), messages=[bytes([7] * 32)])
                await join_next(a)
                for node in (a, b):
                    await wait_event(node, events.SessionComplete)
                assert (await a.session(session.id()).status()).phase is Phase.WATCHING

    asyncio.run(main())


def test_a_server_is_named_with_its_peer_id() -> None:
    async def main() -> None:
        nameless = ["/ip4/127.0.0.1/tcp/1"]
        for options in ({"bootstrap_peers": nameless}, {"relays": nameless}):
            with pytest.raises(errors.InvalidConfig, match="/p2p/"):
                async with make(0, **options):
                    pass
        async with make(0, dht=libmusig.DhtMode.OFF, mdns=False):
            pass

    asyncio.run(main())


def test_terms_are_shown_before_consent() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b:
            await connect(a, b)
            session = await a.create_session(
                keys(2),
                messages=[bytes(32)],
                tiers="doubling",
                broadcast_timeout=90,
                expires_in=timedelta(hours=2),
                metadata=b"rent",
                election_method=libmusig.ElectionMethod.LAST_SIGNER,
            )
            _, proposed = await wait_event(b, events.SessionProposed, ack=False)
            terms = proposed.proposal
            assert terms.session == session.id() and terms.signers == keys(2) and terms.proposer == 0
            assert terms.metadata == b"rent" and terms.messages[0].digest == bytes(32)
            assert isinstance(terms.broadcast, libmusig.Broadcast.FAILOVER)
            assert terms.broadcast.policy.broadcast_timeout == timedelta(seconds=90)
            assert isinstance(terms.broadcast.policy.tiers, libmusig.Tiers.DOUBLING)
            left = proposed.expires_at - datetime.now(timezone.utc)
            assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)
            assert libmusig.decode_proposal(terms.encoded) == await session.proposal()
            await b.session(session.id()).decline("too dear")
            event, aborted = await wait_event(a, events.SessionAborted)
            assert event.durable and (aborted.by, aborted.reason, aborted.declined) == (1, "too dear", True)
            assert (await session.status()).phase is Phase.DECLINED

    asyncio.run(main())


def test_signing_alone_ends_with_the_signatures() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b:
            await connect(a, b)
            session = await sign([a, b], messages=[bytes([7] * 32)], sign_only=True)
            for node in (a, b):
                handle = node.session(session)
                status = await handle.status()
                assert (status.phase, status.failover) == (Phase.FINAL, None)
                assert isinstance((await handle.proposal()).broadcast, libmusig.Broadcast.SIGN_ONLY)
                for call in (handle.broadcast_now, handle.notify_broadcast_complete):
                    with pytest.raises(errors.WrongState, match="only signs"):
                        await call()
                # A session after it, of which the events come after all of the first one's.
                await node.create_session([node.signer_key], messages=[bytes(32)], coordinator_only=True)
                async for event in node.events():
                    event.ack()
                    if isinstance(event.data, events.ShouldBroadcast):
                        assert event.session != session
                        break
            with pytest.raises(errors.InvalidArgument):
                await a.create_session(keys(2), messages=[bytes(32)], sign_only=True, coordinator_only=True)
            with pytest.raises(errors.InvalidArgument):
                await a.create_session(keys(2), messages=[bytes(32)], sign_only=True, broadcast_timeout=3)

    asyncio.run(main())


def test_accepted_proposers() -> None:
    async def main() -> None:
        async with make(0) as a, make(1, accepted_proposers=[key(1)]) as b:
            await connect(a, b)
            await a.create_session(keys(2), messages=[bytes(32)])

            async def refused() -> bool:
                return (await b.metrics()).refused > 0

            await until("it is refused", refused)
            assert await b.sessions() == []
            await b.set_accepted_proposers(None)
            nobody = await b.reputation(key(0))
            assert (nobody.successes, nobody.failures, nobody.reliability) == (0, 0, 0.8)
            await b.forget_signer(key(0))
            await wait_event(b, events.SessionProposed)
            with pytest.raises(errors.InvalidArgument):
                await b.set_accepted_proposers(["00"])

    asyncio.run(main())


def test_failover_with_a_dead_coordinator() -> None:
    async def main() -> None:
        fake = FakeChain()
        first, second, third = ranked(3)
        coordinator = make(first, claims=False)
        # The two do not start their clocks at the same moment: the last one is to see the turn open before it sees
        # the transaction.
        reported = threading.Event()
        way = FakeBroadcaster(fake, "backup", before=lambda: reported.wait(PATIENCE))
        backup = make(second, broadcaster=way, observer=FakeObserver(fake), final_depth=2)
        last = make(third, broadcaster=FakeBroadcaster(fake, "last"), observer=FakeObserver(fake), final_depth=2)
        async with backup, last:
            await coordinator.start()
            await connect(coordinator, backup, last)
            nodes = {first: coordinator, second: backup, third: last}
            session = await sign([nodes[index] for index in range(3)], **spend(keys(3)), broadcast_timeout=60)
            await coordinator.stop()
            _, failed = await wait_event(last, events.CoordinatorFailed)
            reported.set()
            assert (failed.failed, failed.next, failed.turn) == ([first], [second], 1)
            assert failed.causes == [libmusig.FailureCause.GONE]
            watch = (await last.session(session).status()).failover
            assert watch is not None and [one.turn for one in watch.signers] == [0, 1, 2]
            gone = watch.signers[0]
            assert (gone.signer, gone.connected, gone.cause, gone.opens_at) == (first, False, libmusig.FailureCause.GONE, None)
            assert gone.wait < watch.signers[1].wait
            _, turn = await wait_event(backup, events.ShouldBroadcast)
            assert (turn.signer, turn.turn) == (second, 1) and turn.transaction is not None and turn.stored is True
            for node in (backup, last):
                _, seen = await wait_event(node, events.BroadcastSeen)
                assert seen.txid == turn.transaction.txid and seen.coordinators == [second]
                assert node is last or isinstance(seen.by, libmusig.BroadcastBy.OWN)
            assert fake.by("backup") == 1 and fake.by("last") == 0
            # Who was passed over early did not fail.
            assert (await last.reputation(key(first))).failures == 0
            fake.mine(2)
            _, confirmed = await wait_event(last, events.BroadcastConfirmed)
            assert confirmed.txid == turn.transaction.txid and confirmed.depth is not None
            assert confirmed.coordinators == [second]
            assert isinstance(confirmed.by, libmusig.BroadcastBy.CLAIMED) and confirmed.by.signer == second

            async def final() -> bool:
                return (await last.session(session).status()).phase is Phase.FINAL

            await until("the watch ends", final)
            assert await last.session(session).final_transaction() == turn.transaction

    asyncio.run(main())


def test_metrics_match_a_scripted_failover() -> None:
    def unreachable() -> None:
        raise ConnectionError("the cable is out")

    async def main() -> None:
        fake = FakeChain()
        first, second = ranked(2)
        cut = FakeBroadcaster(fake, "first", before=unreachable)
        way = FakeBroadcaster(fake, "second")
        one = make(first, broadcaster=cut, observer=FakeObserver(fake), final_depth=1)
        two = make(second, broadcaster=way, observer=FakeObserver(fake), final_depth=1)
        async with one, two:
            nodes = {first: one, second: two}
            await connect(one, two)
            prefixes = ("musig_session", "musig_failover_", "musig_broad", "musig_coord", "musig_submissions_")
            before = {name: number for name, number in (await numbers(one, "_total")).items() if name.startswith(prefixes)}
            assert before and not any(before.values()), "all are there, at zero"
            # In a block as soon as it is submitted: with such a timeout the chain is looked at every 30 seconds.
            fake.mine(1)
            # The first cannot broadcast, and says so: the second does, an hour early.
            session = await sign([nodes[0], nodes[1]], **spend(keys(2)), broadcast_timeout=3600)
            for node in (one, two):
                await wait_event(node, events.BroadcastSeen)
            for node in (one, two):

                async def final(node: libmusig.Node = node) -> bool:
                    return (await node.session(session).status()).phase is Phase.FINAL

                await until("the watch ends", final)
            names = {index: key(index)[:8] for index in (first, second)}
            for index, node in nodes.items():
                script = {
                    "musig_sessions_proposed_total,proposer": int(index == 0),
                    "musig_sessions_proposed_total,signer": int(index == 1),
                    "musig_sessions_completed_total": 1,
                    "musig_sessions_ended_total,confirmed": 1,
                    "musig_failover_sessions_total": 1,
                    "musig_failover_turns_total,nack": 1,
                    "musig_failover_own_turns_total": int(index == second),
                    "musig_broadcasts_total," + names[second]: 1,
                    "musig_submissions_total,unreachable": cut.calls if index == first else 0,
                    "musig_submissions_total,accepted": fake.by("second") if index == second else 0,
                }
                wanted = {name: number for name, number in script.items() if number}

                async def found(node: libmusig.Node = node) -> dict[str, int]:
                    all_of_them = await numbers(node, "_total")
                    return {name: number for name, number in all_of_them.items() if number and name.startswith(prefixes)}

                async def same() -> bool:
                    return await found() == wanted

                try:
                    await until("all claims are there", same)
                except AssertionError:
                    assert await found() == wanted
            assert (cut.calls, way.calls) >= (1, 1)
            signing = [s for s in await one.metric_samples() if s.name == "musig_signing_seconds"]
            assert len(signing) == 1 and signing[0].kind is libmusig.MetricKind.HISTOGRAM
            assert signing[0].value == signing[0].buckets[-1].count == 1 and signing[0].sum > 0
            text = await two.metrics_text()
            assert '\nmusig_sessions_ended_total{outcome="confirmed"} 1\n' in text
            assert (await two.metrics_text(libmusig.MetricsFormat.OPEN_METRICS)).endswith("# EOF\n")

    asyncio.run(main())


async def numbers(node: libmusig.Node, suffix: str) -> dict[str, int]:
    """Values of series, by the name and the label's value."""
    samples = [sample for sample in await node.metric_samples() if sample.name.endswith(suffix)]
    return {",".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_restart_from_the_store(tmp_path: Path) -> None:
    async def main() -> None:
        stores = [tmp_path / "a.redb", tmp_path / "b.redb"]
        async with make(0, store=stores[0]) as a:
            session = (await a.create_session(keys(2), messages=[bytes(32)])).id()
            with pytest.raises(errors.StoreFailed) as in_use:
                await make(0, store=stores[0]).start()
            assert isinstance(in_use.value.problem, libmusig.StoreProblem.IN_USE)
            assert in_use.value.is_retryable is True
            async with make(1, store=stores[1]) as b:
                await connect(a, b)
                event, _ = await wait_event(b, events.SessionProposed, ack=False)
                assert event.durable and event.session == session
            # Not acknowledged: it comes again, in a new process or in the same one.
            async with make(1, store=stores[1]) as b:
                await connect(a, b)
                again, _ = await wait_event(b, events.SessionProposed, ack=False)
                assert again.session == session
                await b.redeliver()
                third, _ = await wait_event(b, events.SessionProposed)
                assert third.id != again.id and not third.ack()
                await b.session(session).join()
                await asyncio.gather(*(wait_event(node, events.SessionComplete, ack=False) for node in (a, b)))
        async with make(1, store=stores[1]) as b:
            event, complete = await wait_event(b, events.SessionComplete)
            assert event.session == session and complete.stored is True
            assert complete.aborted_here is False
            assert await b.session(session).final_signatures() == complete.signatures
        async with make(1, store=stores[1]) as b:
            seen = []
            await b.session(session).notify_broadcast_complete("11" * 32)
            async for event in b.events():
                seen.append(type(event.data))
                event.ack()
                if isinstance(event.data, events.BroadcastConfirmed):
                    break
            # What was acknowledged does not come again.
            assert events.SessionComplete not in seen and events.SessionProposed not in seen
        with pytest.raises(errors.StoreFailed) as store_of_another_key:
            await make(0, store=stores[1]).start()
        problem = store_of_another_key.value.problem
        assert isinstance(problem, libmusig.StoreProblem.OTHER_KEY)
        assert store_of_another_key.value.is_retryable is False
        assert [problem.owner, problem.signer] == [keys(2)[1], keys(2)[0]]

    asyncio.run(main())


def test_without_a_network() -> None:
    async def main() -> None:
        async with offline(0) as a, offline(1) as b:
            session = await a.create_session(keys(2), messages=[bytes([3] * 32)])
            [other] = await b.import_sessions(await session.export_session())
            await other.join()
            for _ in range(3):
                await a.import_sessions(await other.export_session())
                await b.import_sessions(await session.export_session())
            await wait_event(a, events.SessionComplete)
            await wait_event(b, events.SessionComplete)
            assert await session.final_signatures() == await other.final_signatures()
            with pytest.raises(errors.InputRefused):
                await a.import_sessions(b"nonsense")
            with pytest.raises(errors.NetworkFailed):
                await a.add_peer("/ip4/127.0.0.1/tcp/1")

    asyncio.run(main())


def test_the_turns_of_an_application_that_broadcasts_itself() -> None:
    async def main() -> None:
        first, second = ranked(2)
        a, b = make(first), make(second)
        async with a, b:
            await connect(a, b)
            nodes = {first: a, second: b}
            session = await sign([nodes[0], nodes[1]], broadcast_timeout=3600)
            await wait_event(a, events.ShouldBroadcast)
            assert await a.session(session).is_current_coordinator()
            assert not await b.session(session).is_current_coordinator()
            # Word that the first one cannot reach the network opens the next turn at once.
            await a.session(session).report_broadcast_failed("no route")
            _, turn = await wait_event(b, events.ShouldBroadcast)
            assert turn.turn == 1 and await b.session(session).is_current_coordinator()
            await b.session(session).notify_broadcast_complete("22" * 32)
            _, claimed = await wait_event(a, events.BroadcastClaimed)
            assert (claimed.txid, claimed.by) == ("22" * 32, second)
            assert (await b.session(session).status()).phase is Phase.FINAL
            await b.session(session).close_session()
            await wait_event(b, events.SessionClosed)
            assert (await b.session(session).status()).phase is Phase.CLOSED

    asyncio.run(main())


def test_close_while_watching_is_refused_and_abandoning_takes_no_turn() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b:
            await connect(a, b)
            session = a.session(await sign([a, b], broadcast_timeout=3600))
            with pytest.raises(errors.NotSettled) as refused:
                await session.close_session()
            assert refused.value.session == session.id() and refused.value.complete is True
            assert "abandon_session()" in str(refused.value)
            assert (await session.status()).phase is Phase.WATCHING
            await session.abandon_session()
            await wait_event(a, events.SessionClosed)
            assert (await session.status()).phase is Phase.CLOSED
            assert not await session.is_current_coordinator()
            await session.close_session()
            await session.broadcast_now()
            assert (await session.status()).phase is Phase.WATCHING

    asyncio.run(main())


def test_a_late_certificate_of_an_abandoned_session_is_told_once() -> None:
    async def main() -> None:
        async with offline(0) as a, offline(1) as b:
            session = await a.create_session(keys(2), messages=[bytes([4] * 32)])
            [other] = await b.import_sessions(await session.export_session())
            await other.join()
            await a.import_sessions(await other.export_session())

            async def signed() -> bool:
                return (await session.status()).partial_sent

            await until("it signed", signed)
            mine = await session.export_session()
            with pytest.raises(errors.NotSettled) as refused:
                await session.close_session()
            assert refused.value.complete is False
            await session.abandon_session()
            await b.import_sessions(mine)
            await wait_event(b, events.SessionComplete)
            await a.import_sessions(await other.export_session())
            _, complete = await wait_event(a, events.SessionComplete)
            assert complete.aborted_here is True
            assert (await session.status()).phase is Phase.CLOSED
            assert await session.final_signatures() == await other.final_signatures()

    asyncio.run(main())


def test_broadcast_now() -> None:
    async def main() -> None:
        fake = FakeChain()
        first, second = ranked(2)
        b = make(second, broadcaster=FakeBroadcaster(fake, "b"), observer=FakeObserver(fake))
        async with make(first) as a, b:
            await connect(a, b)
            nodes = {first: a, second: b}
            session = await sign([nodes[0], nodes[1]], **spend(keys(2)), broadcast_timeout=3600)
            await b.session(session).broadcast_now()
            await wait_event(b, events.BroadcastSeen)
            assert fake.by("b") == 1

    asyncio.run(main())


def test_abort_and_states() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b:
            await connect(a, b)
            session = await a.create_session(keys(2), messages=[bytes(32)])
            await session.abort("changed my mind")
            _, aborted = await wait_event(b, events.SessionAborted)
            assert not aborted.may_still_complete
            with pytest.raises(errors.WrongState) as wrong:
                await b.session(session.id()).join()
            assert wrong.value.session == session.id() and wrong.value.state
            with pytest.raises(errors.UnknownSession) as unknown:
                await a.session("ab" * 32).status()
            assert unknown.value.session == "ab" * 32
            with pytest.raises(errors.InvalidArgument):
                await a.create_session(keys(2))
            with pytest.raises(errors.ProposalRefused) as refused:
                await a.create_session([key(1), key(2)], messages=[bytes(32)])
            assert isinstance(refused.value.problem, libmusig.ProposalProblem.NOT_A_SIGNER)
            with pytest.raises(errors.InvalidConfig):
                await a.add_peer("nowhere")

    asyncio.run(main())


def test_suspend_network_changed_and_a_locked_signer(tmp_path: Path) -> None:
    async def main() -> None:
        signer = libmusig.LocalSigner(secret(0))
        async with offline(0, signer=signer, store=tmp_path / "node.redb") as node:
            signer.lock()
            with pytest.raises(errors.SignerFailed) as locked:
                await node.create_session([node.signer_key], messages=[bytes(32)])
            assert isinstance(locked.value.problem, libmusig.SignerProblem.LOCKED)
            signer.unlock(secret(0))
            await node.announce()
            await node.network_changed()
            await node.suspend()
            with pytest.raises(errors.Suspended):
                await node.network_changed()
            with pytest.raises(errors.Suspended):
                await node.create_session([node.signer_key], messages=[bytes(32)])
            await node.resume()
            session = await sign([node])
            assert [status.session for status in await node.sessions()] == [session]

    asyncio.run(main())


def test_a_configuration_that_cannot_work() -> None:
    with pytest.raises(errors.InvalidConfig):
        asyncio.run(make(0, without_observer=False).start())
    with pytest.raises(errors.NodeStopped):
        make(0).peer_id


def test_one_signer_alone() -> None:
    async def main() -> None:
        async with offline(0) as node:
            session = await node.create_session([key(0)], messages=[bytes(32)])
            await wait_event(node, events.SessionComplete)
            assert await session.is_coordinator()
            node.request_stop()

    asyncio.run(main())
