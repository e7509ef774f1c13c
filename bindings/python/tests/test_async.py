"""Event loops, threads, cancellation, and what a thousand nodes leave behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import libmusig
from libmusig import errors, events
from support import assert_nothing_lives, connect, keys, make, offline, sign, until, wait_event


def test_a_handler_acknowledges_by_returning_and_keeps_by_raising() -> None:
    async def main() -> None:
        async with offline(0) as node:
            calls: list[str] = []
            complete = asyncio.Event()

            async def handler(event: libmusig.NodeEvent) -> None:
                # Calling back into the node from the handler.
                await node.metrics()
                calls.append(type(event.data).__name__)
                if isinstance(event.data, events.SessionComplete):
                    complete.set()
                    if calls.count("SessionComplete") == 1:
                        raise ValueError("not now")

            running = asyncio.ensure_future(node.run(handler))
            await node.create_session(keys(1), messages=[bytes(32)])
            await complete.wait()
            complete.clear()
            await node.redeliver()
            await complete.wait()
            # The second time it returned: there is nothing to hand out any more.
            await node.redeliver()
            await node.stop()
            await running
            assert calls.count("SessionComplete") == 2

    asyncio.run(main())


def test_one_consumer_at_a_time() -> None:
    async def main() -> None:
        async with offline(0) as node:
            waiting = asyncio.ensure_future(node.next_event())
            await asyncio.sleep(0)
            with pytest.raises(errors.ConsumerExists):
                await node.next_event()
            node.wake()
            await asyncio.sleep(0)
            await node.stop()
            with pytest.raises(errors.NodeStopped):
                await waiting

    asyncio.run(main())


def test_cancelling_next_event_loses_none() -> None:
    """Waits are cancelled at random moments while a hundred sessions complete."""

    async def main() -> None:
        async with offline(0) as node:
            seen: set[str] = set()
            made: set[str] = set()

            async def create() -> None:
                for _ in range(100):
                    made.add((await node.create_session(keys(1), messages=[bytes(32)])).id())

            creating = asyncio.ensure_future(create())
            cancelled = 0
            end = asyncio.get_running_loop().time() + 30
            while len(seen) < 100:
                assert asyncio.get_running_loop().time() < end, "events are lost"
                waiting = asyncio.ensure_future(node.next_event())
                # 0 to 4 turns of the loop, or until it is there.
                for _ in range(cancelled % 5):
                    await asyncio.sleep(0)
                    if waiting.done():
                        break
                waiting.cancel()
                try:
                    event = await waiting
                except asyncio.CancelledError:
                    cancelled += 1
                    continue
                if isinstance(event.data, events.SessionComplete) and event.session is not None:
                    assert event.session not in seen, "an event came twice"
                    seen.add(event.session)
                event.ack()
            await creating
            assert seen == made and cancelled > 100

    asyncio.run(main())


def test_cancelling_what_changes_something_does_not_undo_it(tmp_path: Path) -> None:
    async def cancel_early(awaitable: object) -> None:
        task = asyncio.ensure_future(awaitable)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    async def main() -> None:
        async with make(0, store=tmp_path / "a.redb") as a, make(1) as b:
            await connect(a, b)
            await cancel_early(a.create_session(keys(2), messages=[bytes(32)]))
            _, proposed = await wait_event(b, events.SessionProposed)
            session = b.session(proposed.proposal.session)
            await cancel_early(session.join())
            for node in (a, b):
                await wait_event(node, events.SessionComplete)
            handle = a.session(session.id())
            # Questions: nothing happens, and the node answers the next one.
            for question in (
                handle.status,
                handle.proposal,
                handle.final_signatures,
                handle.final_transaction,
                handle.election,
                handle.priority_list,
                handle.is_coordinator,
                handle.is_current_coordinator,
                handle.coordinator_peer_id,
                handle.export_session,
                a.sessions,
                a.metrics,
                a.listen_addresses,
                a.connected_signers,
                a.redeliver,
                a.announce,
                a.network_changed,
                lambda: a.set_accepted_proposers(None),
                lambda: a.reputation(keys(2)[1]),
                lambda: a.forget_signer(keys(2)[1]),
            ):
                await cancel_early(question())
                await question()
            exported = await handle.export_session()
            for change in (
                lambda: a.import_sessions(exported),
                lambda: a.add_peer("/ip4/127.0.0.1/tcp/9"),
                lambda: handle.notify_broadcast_complete("33" * 32),
                lambda: handle.report_broadcast_failed("no route"),
                lambda: handle.broadcast_now(),
                lambda: handle.decline("late"),
                lambda: handle.abort("late"),
                a.suspend,
            ):
                await cancel_early(change())

            async def suspended() -> bool:
                try:
                    await handle.notify_broadcast_complete("33" * 32)
                    return False
                except errors.Suspended:
                    return True

            await until("the cancelled suspend is done", suspended)
            await cancel_early(a.resume())

            async def resumed() -> bool:
                try:
                    return not await suspended()
                except errors.StoreFailed:
                    return False

            await until("the cancelled resume is done", resumed)
            await cancel_early(handle.close_session())

            async def closed() -> bool:
                return (await handle.status()).phase is libmusig.Phase.CLOSED

            await until("the cancelled close is done", closed)
            await cancel_early(a.stop())
            await a.stop()
        # A start that was cancelled leaves the store free.
        await cancel_early(make(0, store=tmp_path / "a.redb").start())

        async def starts() -> bool:
            try:
                async with make(0, store=tmp_path / "a.redb"):
                    return True
            except errors.StoreFailed:
                return False

        await until("the store is free again", starts)

    asyncio.run(main())
    assert_nothing_lives()


def test_two_event_loops_and_plain_threads() -> None:
    """One node used from two loops in two threads, and by calls that need no loop."""
    node = asyncio.run(offline(0).start())
    failures: list[BaseException] = []

    def use() -> None:
        async def main() -> None:
            for _ in range(20):
                session = await node.create_session(keys(1), messages=[bytes(32)])
                assert len((await session.status()).signers) == 1
                assert len(node.signer_key) == 66 and node.session(session.id()).id() == session.id()

        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == [] and not any(thread.is_alive() for thread in threads)

    async def end() -> None:
        assert len(await node.sessions()) == 40
        await node.stop()

    asyncio.run(end())


def resident() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_thousand_nodes_leave_nothing_behind() -> None:
    async def main() -> None:
        after_200 = 0
        for cycle in range(1, 1001):
            async with make(0):
                pass
            if cycle == 200:
                after_200 = resident()
        after_1000 = resident()
        print(f"memory after 200: {after_200 >> 10} KiB, after 1000: {after_1000 >> 10} KiB")
        assert after_1000 <= after_200 * 1.05

    asyncio.run(main())
    assert_nothing_lives()


def test_stopping_twice_and_stopping_while_signing() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b:
            await connect(a, b)
            await sign([a, b])
            await asyncio.gather(a.stop(), a.stop(), b.stop())
            with pytest.raises(errors.NodeStopped):
                await a.metrics()
            kinds = [type(event.data) for event in [event async for event in a.events()]]
            assert events.SessionProposed not in kinds

    asyncio.run(main())


def test_the_interpreter_ends_with_a_node_that_runs(tmp_path: Path) -> None:
    """Nobody stops the node, and its observer is asked all the time: the process ends, and not by a signal."""
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, support\n"
        "class Chain(support.FakeObserver):\n"
        "    def status(self, query):\n"
        "        print('asked', flush=True); return super().status(query)\n"
        "async def main():\n"
        "    fake = support.FakeChain()\n"
        "    global node\n"
        "    node = support.offline(0, broadcaster=support.FakeBroadcaster(fake, 'a'), observer=Chain(fake))\n"
        "    await node.start()\n"
        "    await support.sign([node], **support.spend(support.keys(1)), broadcast_timeout=1)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    ended = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_interpreter_ends_right_after_a_node(tmp_path: Path) -> None:
    """A thread that just brought an answer must be outside before the interpreter goes: CPython would abort."""
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, libmusig, os\n"
        "async def main():\n"
        "    signer = libmusig.LocalSigner.generate()\n"
        "    async with libmusig.Node(signer=signer, store=':memory:', offline=True, without_observer=True) as node:\n"
        "        await node.metrics()\n"
        "asyncio.run(main())\n"
    )
    for _ in range(10):
        ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, "")
