"""What the command line says: lines for people, or JSON lines for programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from .._node import NodeEvent

GREEN, YELLOW, RED, BOLD = "32", "33", "31", "1"
ALARMS = ("failed", "exhausted", "nobody", "conflict", "lost", "rejected", "refused", "aborted", "expired", "elsewhere")
GOOD = ("complete", "confirmed", "seen", "ready")


def words_of(name: str) -> str:
    """``SessionProposed`` and ``NOT_YET_FINAL`` as ``session-proposed`` and ``not-yet-final``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).replace("_", "-").lower()


def plain(value: Any) -> Any:
    """A value of the library as what JSON can hold. A variant with data has its name as ``kind``; times are in UTC,
    durations in seconds, bytes in hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return words_of(value.name)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    fields = {name: plain(part) for name, part in vars(value).items() if not name.startswith("_")}
    _, dot, variant = type(value).__name__.rpartition(".")
    return {"kind": words_of(variant), **fields} if dot else fields


def duration(seconds: float) -> str:
    """``4:32``, or ``1:04:32``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def tone_of(name: str) -> list[str]:
    """The colour of an event."""
    return [RED] if any(part in name for part in ALARMS) else [GREEN] if any(part in name for part in GOOD) else []


def event_record(event: NodeEvent) -> dict[str, Any]:
    """An event, with its name."""
    name = words_of(type(event.data).__name__)
    return {"event": name, "session": event.session, "durable": event.durable, **plain(event.data)}


class Output:
    """Standard output. With ``as_json`` each line of it is an object, and nothing else is written to it."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.is_live = terminal and not as_json
        self.colours = self.is_live and not os.environ.get("NO_COLOR")
        self.shown = ""
        """The line at the bottom of a terminal, which is written again and again."""
        self.told: str | None = None
        """The progress that was said last."""

    def colour(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colours and codes else text

    def line(self, text: str) -> None:
        """One line, at once: another program may read it."""
        if self.shown:
            text = f"\r\x1b[K{text}\n{self.shown}"
            print(text, end="", flush=True)
        else:
            print(text, flush=True)

    def progress(self, text: str | None, ticks: str, session: str) -> None:
        """What a session waits for: at the bottom of a terminal with what ticks, elsewhere a line when it changes."""
        if self.is_live:
            width = shutil.get_terminal_size().columns - 1
            now = self.colour(f"{text}{ticks}"[:width], YELLOW) if text is not None else ""
            if now != self.shown:
                print(f"\r\x1b[K{now}", end="", flush=True)
                self.shown = now
        elif text is not None and text != self.told:
            self.say(f"progress    {text}", {"progress": text, "session": session})
        self.told = text

    def say(self, text: str, record: dict[str, Any]) -> None:
        """One line for people, or one record for programs."""
        self.line(json.dumps(plain(record)) if self.as_json else text)

    def table(self, record: dict[str, Any]) -> None:
        """Names and values."""
        for line in [json.dumps(record)] if self.as_json else [f"{name:<20}{value}" for name, value in record.items()]:
            self.line(line)

    def event(self, event: NodeEvent) -> None:
        """One event, as one line."""
        record = event_record(event)
        name = record["event"]
        shown = [part for part in record if part not in ("event", "session", "durable", "proposal")]
        words = " ".join(f"{part}={json.dumps(record[part])}" for part in shown)
        self.say(f"{self.colour(f'{name:<24}', *tone_of(name))} {(event.session or '-')[:16]}  {words}".rstrip(), record)

    def status(self, status: dict[str, Any]) -> None:
        """One session, as one line."""
        line = f"{status['session']}  {status['phase']:<10} signer {status['own_index']} of {len(status['signers'])}"
        if status["missing"]:
            line += f"  missing {status['missing']}"
        watch = status["failover"]
        if watch is not None:
            line += f"  turn {watch['turn']} of signers {watch['current']}, evidence {watch['evidence']['kind']}"
            if watch["until_next_turn"] is not None and status["phase"] == "watching":
                line += f", next turn in {duration(watch['until_next_turn'])}"
        self.say(line, status)


def warn(text: str) -> None:
    """One line on the standard error."""
    print(f"musig: {text}", file=sys.stderr, flush=True)


def listed(items: Iterable[object]) -> str:
    """``a, b and c``."""
    *first, last = [str(item) for item in items] or [""]
    return f"{', '.join(first)} and {last}" if first else last


class Ended(Exception):
    """The command ends; why has been said."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
