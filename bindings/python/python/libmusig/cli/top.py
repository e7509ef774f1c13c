"""A live view of a node: its sessions, turns, peers and events. It needs the package rich."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .calls import Caller, Other, caller_of
from .config import Config
from .control import connecting
from .output import tone_of
from .progress import countdown, names_of, progress, turns_ahead
from .until import ENDED

LAST = 12
"""Events that are shown."""
TONES = {"final": "green", "watching": "cyan", "proposed": "yellow", "joined": "yellow", "signing": "yellow", "closed": "dim"}
STYLES = {"31": "red", "32": "green", "33": "yellow"}


@dataclass
class View:
    """What is shown. Everything in it may be another signer's words: it is never read as markup."""

    config: Config
    hello: dict[str, Any] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    peers: dict[str, Any] = field(default_factory=dict)
    events: deque[tuple[str, dict[str, Any]]] = field(default_factory=lambda: deque(maxlen=LAST))

    async def refresh(self, caller: Caller) -> None:
        self.hello = self.hello or await caller.call("hello")
        self.sessions = await caller.call("sessions")
        self.peers = await caller.call("peers")

    def note(self, event: dict[str, Any]) -> None:
        self.events.append((datetime.now().strftime("%H:%M:%S"), event))

    def render(self) -> RenderableType:
        return Group(self.head(), self.table(), self.log())

    def head(self) -> RenderableType:
        connected = [self.config.name(key) or f"{key[:8]}…" for key in self.peers["connected"]]
        lines = Text.assemble(("signer    ", "bold"), self.hello["signer_key"])
        lines.append("\nlistening ", "bold").append(", ".join(self.peers["listening"]) or "nowhere")
        lines.append("\nconnected ", "bold").append(", ".join(connected) or "nobody", "green" if connected else "red")
        return Panel(lines, title=f"musig {self.hello['library']}", title_align="left", box=box.ROUNDED)

    def table(self) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
        table.add_column("session", no_wrap=True)
        table.add_column("phase", no_wrap=True)
        table.add_column("signers", no_wrap=True)
        table.add_column("waits for", ratio=1)
        table.add_column("next turn", justify="right", no_wrap=True)
        for status in sorted(self.sessions, key=lambda status: status["phase"] in ENDED):
            names = names_of(status, self.config)
            waits = Text("\n".join([progress(status, names) or "", *turns_ahead(status, names)]))
            left = Text(countdown(status).removeprefix(", next turn in "), "yellow")
            phase = Text(status["phase"], TONES.get(status["phase"], "red"))
            table.add_row(Text(status["session"][:12]), phase, self.signers(status), waits, left)
        return table

    def signers(self, status: dict[str, Any]) -> Text:
        """A mark for each signer: whether it is connected, and consented."""
        marks = Text()
        for signer in status["signers"]:
            marks.append("●" if signer["consented"] else "○", "green" if signer["connected"] else "red")
        return marks

    def log(self) -> RenderableType:
        lines = Text()
        for at, event in self.events:
            style = "".join(STYLES[code] for code in tone_of(event["event"]))
            words = {name: value for name, value in event.items() if name not in ("event", "session", "durable", "proposal")}
            lines.append(f"{at} ", "dim").append(f"{event['event']:<24}", style)
            lines.append(f"{(event['session'] or '-')[:12]:<13}{json.dumps(words) if words else ''}\n")
        lines.no_wrap, lines.overflow = True, "ellipsis"
        return Panel(lines, title="events", title_align="left", box=box.ROUNDED)


@asynccontextmanager
async def events_of(caller: Caller, arguments: argparse.Namespace, view: View) -> AsyncIterator[None]:
    """Has the view hear of the events of a node that runs."""
    if not isinstance(caller, Other):
        yield
        return
    async with connecting(arguments.control) as client:
        assert client is not None

        async def follow() -> None:
            await client.call("events")
            while True:
                view.note((await client.read())["params"])

        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextmanager
def ends_at_q(caller: Caller) -> Iterator[None]:
    """Takes single keys: q is the end."""
    if not sys.stdin.isatty() or os.name != "posix":
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)

    def read() -> None:
        if os.read(0, 1) in (b"q", b"Q", b""):
            caller.end()

    tty.setcbreak(0)
    asyncio.get_running_loop().add_reader(0, read)
    try:
        yield
    finally:
        asyncio.get_running_loop().remove_reader(0)
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def top(arguments: argparse.Namespace) -> int:
    """Shows sessions, turns, peers and events of a node as they are now."""
    view = View(arguments.config)
    async with caller_of(arguments) as caller:
        caller.ends_at_signals()
        await view.refresh(caller)
        if not arguments.output.is_live:
            record = {"hello": view.hello, "peers": view.peers, "sessions": view.sessions}
            if arguments.json:
                arguments.output.say("", record)
            else:
                Console().print(Group(view.head(), view.table()))
            return 0
        console = Console(no_color=not arguments.output.colours)
        async with events_of(caller, arguments, view):
            with Live(view.render(), console=console, screen=True, auto_refresh=False) as live, ends_at_q(caller):
                while not await caller.wait(1):
                    await view.refresh(caller)
                    live.update(view.render(), refresh=True)
    return 0
