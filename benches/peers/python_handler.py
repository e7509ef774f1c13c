"""How long after the sync of its commit an event reaches a handler in Python: prints the median in microseconds.

The argument is the number of events. MUSIG_SYNCED is the file in which synced.c, which is to be preloaded, notes its time.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import libmusig
from libmusig import events


async def measure(count: int, synced: mmap.mmap) -> float:
    signer = libmusig.LocalSigner.generate()
    keys = [signer.public_key()]
    with tempfile.TemporaryDirectory() as folder:
        node = libmusig.Node(signer=signer, store=Path(folder) / "store", offline=True, without_observer=True)
        took: asyncio.Queue[int] = asyncio.Queue()

        async def handle(event: libmusig.NodeEvent) -> None:
            now = time.monotonic_ns()
            if isinstance(event.data, events.SessionCreated):
                took.put_nowait(now - struct.unpack("=Q", synced[:8])[0])

        await node.start()
        handling = asyncio.create_task(node.run(handle))
        times = []
        for number in range(count):
            await node.create_session(keys, messages=[number.to_bytes(32, "big")])
            times.append(await asyncio.wait_for(took.get(), 30))
        await node.stop()
        await handling
    return statistics.median(times) / 1000


if __name__ == "__main__":
    with Path(os.environ["MUSIG_SYNCED"]).open("rb") as file:
        shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    print(asyncio.run(measure(int(sys.argv[1]), shared)))
