"""The control socket of a running node: JSON-RPC 2.0, one object a line, over a Unix socket that its user alone may open.

The methods are the operations. After ``events`` the node sends each event as a notification ``event``, until the
connection is closed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import stat
import struct
import types
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ..errors import MusigError
from .host import Host
from .output import event_record, plain
from .operations import OPERATIONS, VERSION

LONGEST = 1 << 24
"""Bytes of a request."""
LONGEST_ANSWER = 1 << 26
TOGETHER = 16
"""Connections at once; more are closed."""
BEHIND = 1000
"""Events that a reader may be behind before it is closed."""


class Refused(Exception):
    """A request is answered with an error of this code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end, where the system tells it."""
    if hasattr(socket, "SO_PEERCRED"):
        return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
    if hasattr(socket, "LOCAL_PEERCRED"):
        return int(struct.unpack_from("=II", connection.getsockopt(0, socket.LOCAL_PEERCRED, 76))[1])
    return None


def check(operation: Any, parameters: Any) -> dict[str, Any]:
    """The parameters of an operation, if they are what it takes."""
    if not isinstance(parameters, dict):
        raise Refused(-32602, "parameters have names here")
    hints = typing.get_type_hints(operation)
    try:
        inspect.signature(operation).bind(None, **parameters)
    except TypeError as error:
        raise Refused(-32602, str(error)) from None
    for name, value in parameters.items():
        if name == "host" or not fits(value, hints[name]):
            raise Refused(-32602, f"the parameter {name} is no such thing")
    return parameters


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of this type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        return isinstance(value, list) and all(fits(part, typing.get_args(hint)[0]) for part in value)
    return isinstance(value, (int, float) if hint is float else hint)


async def respond(host: Host, line: bytes) -> dict[str, Any] | None:
    """The answer to a request; none to a notification."""
    number: Any = None
    try:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise Refused(-32700, "that is not JSON") from None
        if not isinstance(request, dict) or request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
            raise Refused(-32600, "that is no request of JSON-RPC 2.0")
        if isinstance(request.get("id"), (str, int, float)):
            number = request["id"]
        operation = OPERATIONS.get(request["method"])
        if operation is None:
            raise Refused(-32601, f"there is no method {request['method']!r}")
        try:
            result = await operation(host, **check(operation, request.get("params", {})))
        except (MusigError, ValueError, OSError) as error:
            raise Refused(-32000, str(error)) from None
        except (LookupError, TypeError, ArithmeticError) as error:
            raise Refused(-32602, f"{type(error).__name__}: {error}") from None
        if "id" not in request:
            return None
        return {"jsonrpc": "2.0", "id": number, "result": result}
    except Refused as refused:
        return {"jsonrpc": "2.0", "id": number, "error": {"code": refused.code, "message": str(refused)}}


def is_events(line: bytes) -> Any:
    """The id of a request for events."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request.get("id") if isinstance(request, dict) and request.get("method") == "events" else None


async def send_events(host: Host, number: Any, writer: asyncio.StreamWriter) -> None:
    """Sends events until somebody hangs up."""
    with host.listening() as heard:
        send(writer, {"jsonrpc": "2.0", "id": number, "result": None})
        while (event := await heard.get()) is not None and heard.qsize() < BEHIND:
            send(writer, {"jsonrpc": "2.0", "method": "event", "params": event_record(event)})
            await writer.drain()


def send(writer: asyncio.StreamWriter, record: dict[str, Any]) -> None:
    writer.write(json.dumps(plain(record)).encode() + b"\n")


def make_socket(path: Path) -> socket.socket:
    """A socket of mode 600 in a folder of mode 700, in the place of one that nobody answers at."""
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("--control: this system has no Unix sockets")
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--control: {folder}: {error.strerror}") from None
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
        raise ValueError(f"--control: the folder {folder} must be your own, with mode 700: `chmod 700 {folder}`")
    if path.exists() or path.is_symlink():
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ValueError(f"--control: {path} is there, and is no socket")
        with socket.socket(socket.AF_UNIX) as other:
            try:
                other.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise ValueError(f"--control: another node answers at {path}")
    made = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        made.bind(str(path))
    except OSError as error:
        made.close()
        raise ValueError(f"--control: {path}: {error}") from None
    finally:
        os.umask(mask)
    return made


@asynccontextmanager
async def serving(host: Host, path: Path) -> AsyncIterator[None]:
    """Answers at the socket."""
    busy: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            number = is_events(line)
            if number is not None:
                sending = asyncio.ensure_future(send_events(host, number, writer))
                hung_up = asyncio.ensure_future(reader.read(1))
                await asyncio.wait([sending, hung_up], return_when=asyncio.FIRST_COMPLETED)
                for task in (sending, hung_up):
                    task.cancel()
                await asyncio.gather(sending, hung_up, return_exceptions=True)
                return
            answer = await respond(host, line)
            if answer is not None:
                send(writer, answer)
                await writer.drain()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            if len(busy) <= TOGETHER and peer_uid(writer.get_extra_info("socket")) in (None, 0, os.getuid()):
                await talk(reader, writer)
        except (OSError, ValueError, asyncio.CancelledError):
            # A line that is too long is a ValueError.
            pass
        finally:
            busy.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(answer, sock=make_socket(path), limit=LONGEST)
    here = path.lstat().st_ino
    try:
        yield
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        if path.is_socket() and path.lstat().st_ino == here:
            path.unlink()


class Client:
    """A connection to a node's control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> dict[str, Any]:
        line = await self.reader.readline()
        if not line:
            raise ValueError("the node closed its control socket")
        record: dict[str, Any] = json.loads(line)
        return record

    async def call(self, method: str, /, **parameters: Any) -> Any:
        try:
            send(self.writer, {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
            await self.writer.drain()
            answer = await self.read()
        except ConnectionError:
            raise ValueError("the node closed its control socket") from None
        if "error" in answer:
            raise ValueError(answer["error"]["message"])
        return answer["result"]


@asynccontextmanager
async def connecting(path: str) -> AsyncIterator[Client | None]:
    """A client of the node that answers there; None if nobody does."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_ANSWER)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        raise ValueError(f"--control: {path}: {error.strerror or error}") from None
    try:
        client = Client(reader, writer)
        version = (await client.call("hello"))["version"]
        if version != VERSION:
            raise ValueError(f"--control: the node speaks version {version}, this command version {VERSION}; upgrade the older")
        yield client
    finally:
        writer.close()
