"""A node's metrics over HTTP, and in a file, for the command line. The library itself opens no socket for them."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import AsyncIterator

from .._ffi import MetricsFormat
from .._node import Node

PATIENCE = 5.0
"""Seconds within which a request is made and its answer taken."""
TOGETHER = 16
"""Requests that are answered at once; more are closed."""
EVERY = 15.0
"""Seconds between two versions of the file."""


@asynccontextmanager
async def serving(node: Node, address: str) -> AsyncIterator[str]:
    """Answers `GET /metrics` at `HOST:PORT`; yields where."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535 or not host:
        raise ValueError(f"--metrics {address}: give a host and a port, such as 127.0.0.1:9400")
    busy = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal busy
        busy += 1
        try:
            if busy <= TOGETHER:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
                writer.write(await respond(node, head.decode("latin-1")))
                await asyncio.wait_for(writer.drain(), PATIENCE)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            busy -= 1
            writer.close()

    server = await asyncio.start_server(answer, host.strip("[]"), int(port), limit=8192)
    async with server:
        name, number = server.sockets[0].getsockname()[:2]
        yield f"http://{f'[{name}]' if ':' in name else name}:{number}/metrics"


async def respond(node: Node, head: str) -> bytes:
    """The answer to a request, by its first line and its Accept header."""
    request, *headers = head.split("\r\n")
    method, _, rest = request.partition(" ")
    if rest.split(" ")[0].split("?")[0] != "/metrics":
        return b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    if method not in ("GET", "HEAD"):
        return b"HTTP/1.0 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n"
    accepts = [line.lower() for line in headers if line.lower().startswith("accept:")]
    is_open = any("application/openmetrics-text" in line for line in accepts)
    text = (await node.metrics_text(MetricsFormat.OPEN_METRICS if is_open else MetricsFormat.PROMETHEUS)).encode()
    kind = "application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version=0.0.4"
    answer = f"HTTP/1.0 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(text)}\r\n\r\n".encode()
    return answer + text if method == "GET" else answer


async def write(node: Node, file: Path) -> None:
    """Replaces the file by what the metrics are now; a reader sees the old text or the new one."""
    text = await node.metrics_text()
    beside = file.with_name(file.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, file)


@asynccontextmanager
async def in_file(node: Node, file: Path) -> AsyncIterator[None]:
    """Keeps the file up to date."""
    await write(node, file)

    async def keep() -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await write(node, file)
            except OSError as error:
                print(f"musig: the metrics were not written: {error}", file=sys.stderr)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
