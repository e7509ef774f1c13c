"""Three signers; the elected coordinator stops before it broadcasts; the next one does, by a Broadcaster in Python.

    pip install ./bindings/python        # from a checkout: nothing is published yet
    python examples/python/failover.py
"""

from __future__ import annotations

import asyncio
import threading

import libmusig
from libmusig import chain, events

VALUE = 10_000


class Mempool(libmusig.Broadcaster, libmusig.ChainObserver):
    """Stands for a Bitcoin node. In an application these two methods ask a real one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.transactions: set[str] = set()

    def submit(self, transaction: libmusig.SignedTransaction) -> libmusig.SubmitOutcome:
        with self.lock:
            self.transactions.add(transaction.txid)
        print(f"submitted   {transaction.txid}", flush=True)
        return libmusig.Accepted()

    def status(self, query: libmusig.ChainQuery) -> libmusig.ChainStatus:
        with self.lock:
            if query.txid not in self.transactions:
                return chain.Unknown()
            return chain.Confirmed(height=1, confirmations=6)


def unsigned_transaction(script: bytes) -> bytes:
    """One input that the signers own, one output back to them."""
    outpoint = bytes([1] * 32) + bytes(4)
    output = (VALUE - 500).to_bytes(8, "little") + bytes([len(script)]) + script
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
                options = libmusig.SummaryOptions(network=libmusig.Network.REGTEST)
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


async def main() -> None:
    mempool = Mempool()
    signers = [libmusig.LocalSigner.generate() for _ in range(3)]
    keys = [signer.public_key() for signer in signers]
    nodes = [
        libmusig.Node(
            signer=signer,
            store=":memory:",
            listen=["/ip4/127.0.0.1/tcp/0"],
            broadcaster=mempool,
            observer=mempool,
        )
        for signer in signers
    ]
    order = libmusig.elect(keys, libmusig.ElectionMethod.LEXICOGRAPHIC).priority_list
    # The coordinator has no Broadcaster in this example, so that it certainly does not broadcast.
    nodes[order[0]] = libmusig.Node(
        signer=signers[order[0]], store=":memory:", listen=["/ip4/127.0.0.1/tcp/0"], without_observer=True
    )
    for node in nodes:
        await node.start()
        for other in nodes[: nodes.index(node)]:
            await node.add_peer(await address(other))

    complete = [asyncio.Event() for _ in nodes]
    confirmed = [asyncio.Event() for _ in nodes]
    tasks = [
        asyncio.create_task(join_everything(node, *flags))
        for node, flags in zip(nodes, zip(complete, confirmed))
    ]
    output = libmusig.Derivation(taproot=libmusig.KeyPath())
    script = bytes.fromhex("5120" + libmusig.final_key(libmusig.key_set(keys), output)[2:])
    await nodes[0].create_session(
        keys,
        transaction=unsigned_transaction(script),
        spent=[libmusig.SpentOutput(value=VALUE, script=script)],
        broadcast_timeout=1,
    )
    await asyncio.gather(*(flag.wait() for flag in complete))
    print(f"signed by all; signer {order[0]} is the coordinator, and stops now", flush=True)
    await nodes[order[0]].stop()
    await asyncio.gather(*(confirmed[index].wait() for index in order[1:]))
    for node in nodes:
        await node.stop()
    await asyncio.gather(*tasks)
    print("the backup broadcast it")


if __name__ == "__main__":
    asyncio.run(main())
