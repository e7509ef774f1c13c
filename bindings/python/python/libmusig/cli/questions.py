"""Questions to the user."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable


async def ask(question: str, after: Callable[[], object]) -> bool:
    """Whether the user says yes. Ctrl-C and the end of the input mean no; `after` sets the handler of Ctrl-C again."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(text: str) -> None:
        if not answer.done():
            answer.set_result(text)

    def read() -> None:
        # Not by sys.stdin, whose lock a thread that still waits at the end would hold.
        line = b""
        while not line.endswith(b"\n") and len(line) < 1024 and (more := os.read(0, 1)):
            line += more
        try:
            loop.call_soon_threadsafe(settle, line.decode(errors="replace"))
        except RuntimeError:
            pass

    threading.Thread(target=read, daemon=True).start()
    try:
        loop.add_signal_handler(signal.SIGINT, settle, "")
    except NotImplementedError:
        pass
    try:
        return (await answer).strip().lower() in ("y", "yes")
    finally:
        after()
