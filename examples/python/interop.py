"""The Python node of the test of all languages: docs/interop.md says what it reads and writes."""

from __future__ import annotations

import asyncio
import sys

import libmusig
from libmusig import events


async def handle(node: libmusig.Node, event: libmusig.NodeEvent) -> None:
    if event.session is None:
        return
    session = node.session(event.session)
    match event.data:
        case events.SessionProposed():
            await session.join()
        case events.SessionComplete(signatures=signatures):
            print(f"complete {event.session} {signatures[0].hex()}", flush=True)
        case events.ShouldBroadcast(turn=turn):
            print(f"should-broadcast {event.session} {turn}", flush=True)
        case events.BroadcastClaimed():
            await session.notify_broadcast_complete(None)
        case events.BroadcastConfirmed():
            print(f"confirmed {event.session}", flush=True)


async def orders(node: libmusig.Node) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        match line.split():
            case ["peer", address]:
                await node.add_peer(address)
            case ["propose", milliseconds, digest, *keys]:
                await node.create_session(
                    keys,
                    messages=[bytes.fromhex(digest)],
                    election_method=libmusig.ElectionMethod.FIRST_SIGNER,
                    broadcast_timeout=int(milliseconds) / 1000,
                )
            case ["broadcast", session]:
                await node.session(session).notify_broadcast_complete((b"\x07" * 32).hex())
            case _:
                return


async def main() -> None:
    secret = bytes.fromhex(sys.stdin.readline().removeprefix("secret ").strip())
    async with libmusig.Node(
        signer=libmusig.LocalSigner(secret),
        store=sys.argv[1],
        listen=["/ip4/127.0.0.1/tcp/0"],
        without_observer=True,
    ) as node:
        while not (addresses := await node.listen_addresses()):
            await asyncio.sleep(0.005)
        print(f"listening {addresses[0]}", flush=True)
        running = asyncio.create_task(node.run(lambda event: handle(node, event)))
        await orders(node)
        running.cancel()


asyncio.run(main())
