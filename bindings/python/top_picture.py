"""Draws docs/top.svg: what `musig top` shows in a real run of three signers, whose coordinator cannot broadcast.

Run it with a Python that has libmusig and rich, from the repository's folder: `python3 bindings/python/top_picture.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

import libmusig
from libmusig.cli.calls import Own
from libmusig.cli.config import Config
from libmusig.cli.host import Host, hosting
from libmusig.cli.output import Output, event_record
from libmusig.cli.top import View

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ["alice", "bob", "carol"]


class Quiet(Output):
    """Of the run itself nothing is printed."""

    def __init__(self) -> None:
        super().__init__(as_json=True)

    def line(self, text: str) -> None:
        pass


def transaction(keys: list[str]) -> tuple[str, str]:
    """An unsigned transaction that spends one coin of the signers, in hexadecimal digits, and that coin."""
    own = libmusig.Derivation(path=[], taproot=libmusig.KeyPath())
    script = "5120" + libmusig.final_key(libmusig.key_set(keys), own)[2:]
    value = (9_000).to_bytes(8, "little").hex()
    spends = "0200000001" + "07" * 32 + "00000000" + "00" + "fdffffff"
    return f"{spends}01{value}22{script}00000000", f"10000:{script}"


async def run(folder: Path) -> View:
    secrets = [bytes([index + 1] * 32) for index in range(3)]
    keys = sorted(libmusig.LocalSigner(secret).public_key() for secret in secrets)
    secrets.sort(key=lambda secret: libmusig.LocalSigner(secret).public_key())
    config = Config(folder / "musig.toml", contacts=dict(zip(NAMES, keys)))
    async with AsyncExitStack() as stack:
        hosts: list[Host] = []
        for index, secret in enumerate(secrets):
            file = folder / f"{index}.key"
            file.touch(0o600)
            file.write_text(secret.hex())
            peers = [(await host.node.listen_addresses())[0] for host in hosts]
            options = argparse.Namespace(
                key=str(file),
                store=str(folder / f"{index}.redb"),
                listen=["/ip4/127.0.0.1/tcp/0"],
                peer=peers,
                output=Quiet(),
                verbose=0,
                source=None,
                # The first in the order of the keys is the coordinator.
                broadcast_command="echo the node is down >&2; exit 1" if index == 0 else None,
            )
            host = await stack.enter_async_context(hosting(options))
            while not await host.node.listen_addresses():
                await asyncio.sleep(0.05)
            hosts.append(host)
        # Carol's node is the one that is looked at.
        view = View(config)
        with hosts[2].listening() as heard:
            owns = [Own(host, stack.enter_context(host.listening())) for host in hosts]
            spends, spent = transaction(keys)
            first = await owns[0].call("propose", signers=keys, transaction=spends, spent=[spent], timeout=300.0)
            for own in owns[1:]:
                while first not in [status["session"] for status in await own.call("sessions")]:
                    await asyncio.sleep(0.05)
                await own.call("join", session=first)
            # The coordinator says that it cannot, and the next turn opens.
            while "coordinator-failed" not in [event["event"] for _, event in view.events]:
                event = await asyncio.wait_for(heard.get(), 60)
                assert event is not None
                view.note(event_record(event))
            second = await owns[2].call("propose", signers=keys, digests=["07" * 32], sign_blind=True)
            while second not in [status["session"] for status in await owns[1].call("sessions")]:
                await asyncio.sleep(0.05)
            await owns[1].call("join", session=second, sign_blind=True)
            while len((await owns[2].call("status", session=second))["accepted"]) < 2:
                await asyncio.sleep(0.05)
            while not heard.empty():
                event = heard.get_nowait()
                assert event is not None
                view.note(event_record(event))
            await view.refresh(owns[2])
        return view


def main() -> None:
    with TemporaryDirectory() as folder:
        view = asyncio.run(run(Path(folder)))
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    console.print(view.render())
    picture = console.export_svg(title="musig top", unique_id="top")
    # No fonts from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    (DOCS / "top.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(f"{DOCS / 'top.svg'}", file=sys.stderr)


if __name__ == "__main__":
    main()
