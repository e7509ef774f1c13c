"""Three signers spend their coin; the elected coordinator stops before it broadcasts; the next one does.

    pip install ./bindings/python        # from a checkout: nothing is published yet
    cargo run --example chain -- python examples/python/failover.py

The argument is the address of an Esplora server on regtest, here of a small chain that also pays the coin.
"""

from __future__ import annotations

import asyncio
import sys

import libmusig
from libmusig import Derivation, KeyPath, Network, events

VALUE = 100_000
FEE = 1_000


def unsigned_transaction(coin: str, script: bytes) -> bytes:
    """One input, which is the signers' coin, and one output back to them."""
    txid, vout = coin.split(":")
    outpoint = bytes.fromhex(txid)[::-1] + int(vout).to_bytes(4, "little")
    output = (VALUE - FEE).to_bytes(8, "little") + bytes([len(script)]) + script
    return b"\x02\0\0\0" + b"\x01" + outpoint + b"\0" + b"\xfd\xff\xff\xff" + b"\x01" + output + bytes(4)


async def address(node: libmusig.Node) -> str:
    while not (addresses := await node.listen_addresses()):
        await asyncio.sleep(0.01)
    return addresses[0]


async def join_everything(node: libmusig.Node, complete: asyncio.Event, confirmed: asyncio.Event) -> None:
    """What an application does with events. A wallet's user would look at the summary before it joins."""

    async def handle(event: libmusig.NodeEvent) -> None:
        match event.data:
            case events.SessionProposed(proposal=proposal):
                session = node.session(proposal.session)
                options = libmusig.SummaryOptions(network=Network.REGTEST)
                print((await session.summary(options)).text, flush=True)
                await session.join()
            case events.SessionComplete():
                complete.set()
            case events.CoordinatorFailed(failed=failed, next=following):
                print(f"signer {failed} did not broadcast; now it is the turn of {following}", flush=True)
            case events.BroadcastConfirmed(txid=txid):
                print(f"confirmed   {txid}", flush=True)
                confirmed.set()

    await node.run(handle)


async def main(backend: str) -> None:
    # Your own Bitcoin node: libmusig.bitcoin_core("http://127.0.0.1:8332", cookie_file="…/.cookie").
    source = libmusig.ChainSource.esplora(backend)
    signers = [libmusig.LocalSigner.generate() for _ in range(3)]
    keys = [signer.public_key() for signer in signers]
    coordinator = libmusig.elect(keys, libmusig.ElectionMethod.LEXICOGRAPHIC).priority_list[0]
    nodes = [
        # The coordinator has no source in this example, so that it certainly does not broadcast.
        libmusig.Node(signer=signer, store=":memory:", listen=["/ip4/127.0.0.1/tcp/0"], without_observer=True)
        if index == coordinator
        else libmusig.Node(signer=signer, store=":memory:", listen=["/ip4/127.0.0.1/tcp/0"], source=source)
        for index, signer in enumerate(signers)
    ]
    for node in nodes:
        await node.start()
        for other in nodes[: nodes.index(node)]:
            await node.add_peer(await address(other))

    # The coin: an output of the key of all three.
    ours, derivation = libmusig.key_set(keys), Derivation(taproot=KeyPath())
    script = bytes.fromhex("5120" + libmusig.final_key(ours, derivation)[2:])
    print(f"pay {VALUE} {libmusig.address(ours, derivation, Network.REGTEST)}", flush=True)
    coin = sys.stdin.readline()

    complete = [asyncio.Event() for _ in nodes]
    confirmed = [asyncio.Event() for _ in nodes]
    tasks = [
        asyncio.create_task(join_everything(node, *flags))
        for node, flags in zip(nodes, zip(complete, confirmed))
    ]
    await nodes[0].create_session(
        keys,
        transaction=unsigned_transaction(coin, script),
        spent=[libmusig.SpentOutput(value=VALUE, script=script)],
        broadcast_timeout=1,
    )
    await asyncio.gather(*(flag.wait() for flag in complete))
    print(f"signed by all; signer {coordinator} is the coordinator, and stops now", flush=True)
    await nodes[coordinator].stop()
    await asyncio.gather(*(flag.wait() for index, flag in enumerate(confirmed) if index != coordinator))
    for node in nodes:
        await node.stop()
    await asyncio.gather(*tasks)
    print("the backup broadcast it")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: failover.py ESPLORA_URL")
    asyncio.run(main(sys.argv[1]))
