"""Three nodes in one Python process: sessions a second and CPU time, and what the import costs. Prints one line of JSON.

The argument is the number of sessions.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import libmusig
from libmusig import events

NODES = 3
IN_FLIGHT = 16


def import_seconds() -> float:
    """What `import libmusig` adds to an interpreter that does nothing else: the median of some."""

    def run(code: str) -> float:
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.monotonic() - start

    run("import libmusig")
    times = sorted(run("import libmusig") - run("pass") for _ in range(5))
    return times[len(times) // 2]


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(sessions: int) -> dict[str, float]:
    signers = [libmusig.LocalSigner.generate() for _ in range(NODES)]
    keys = [signer.public_key() for signer in signers]
    nodes = [
        libmusig.Node(signer=signer, store=":memory:", listen=["/ip4/127.0.0.1/tcp/0"], without_observer=True)
        for signer in signers
    ]
    for index, node in enumerate(nodes):
        await node.start()
        for other in nodes[:index]:
            while not (addresses := await other.listen_addresses()):
                await asyncio.sleep(0.01)
            await node.add_peer(addresses[0])
    held: dict[str, int] = {}
    free, all_hold = asyncio.Semaphore(IN_FLIGHT), asyncio.Event()

    async def handle(node: libmusig.Node, event: libmusig.NodeEvent) -> None:
        match event.data:
            case events.SessionProposed(proposal=proposal):
                await node.session(proposal.session).join()
            case events.SessionComplete():
                held[event.session] = held.get(event.session, 0) + 1
                if held[event.session] == NODES:
                    free.release()
                    if sum(count == NODES for count in held.values()) == sessions:
                        all_hold.set()

    tasks = [asyncio.create_task(node.run(lambda event, node=node: handle(node, event))) for node in nodes]
    start, before = time.monotonic(), cpu()
    for number in range(sessions):
        await free.acquire()
        await nodes[number % NODES].create_session(keys, messages=[number.to_bytes(32, "big")])
    await asyncio.wait_for(all_hold.wait(), 120)
    seconds, spent = time.monotonic() - start, cpu() - before
    for node in nodes:
        await node.stop()
    await asyncio.gather(*tasks)
    return {"sessions_per_second": sessions / seconds, "cpu_ms": spent / sessions / NODES * 1000}


def build() -> str:
    """Whether the installed library was built for release: a debug build is several times as large."""
    library = max(Path(libmusig.__file__).parent.rglob("*.so"), key=lambda path: path.stat().st_size)
    return "release" if library.stat().st_size < 30_000_000 else "debug"


if __name__ == "__main__":
    print(json.dumps({"import_s": import_seconds(), "build": build(), **asyncio.run(measure(int(sys.argv[1])))}))
