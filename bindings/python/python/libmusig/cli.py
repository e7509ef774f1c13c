"""The console command ``musig``."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from . import _metrics, events
from ._ffi import (
    Network,
    ElectionMethod,
    JoinOptions,
    LocalSigner,
    Message,
    Session,
    SessionStatus,
    SignedTransaction,
    SpentOutput,
    SummaryOptions,
    elect,
    library_version,
)
from ._node import Node, NodeEvent
from .chain import Accepted, Broadcaster, ChainSource, SubmitOutcome, bitcoin_core
from .errors import MusigError
from .keys import (
    Derivation,
    KeyOrder,
    KeyPath,
    address,
    aggregate_key,
    final_key,
    key_set,
    synthetic_xpub,
)
from .psbt import Descriptor, Psbt

NETWORKS = {network.name.lower(): network for network in Network}
METHODS = {method.name.lower().replace("_", "-"): method for method in ElectionMethod}


def say(text: str) -> None:
    """One line, at once: another program may read it."""
    print(text, flush=True)


def plain(value: Any) -> Any:
    """A value of the library as what JSON can hold."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "__dict__") and not hasattr(value, "name"):
        return {name: plain(part) for name, part in vars(value).items() if not name.startswith("_")}
    return value if isinstance(value, (bool, int, float, str, type(None))) else getattr(value, "name", str(value))


def event_name(event: NodeEvent) -> str:
    """``SessionProposed`` as ``session-proposed``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(event.data).__name__).lower()


def show_event(event: NodeEvent, as_json: bool) -> None:
    """One event, as one line."""
    data = plain(event.data)
    if as_json:
        say(json.dumps({"event": event_name(event), "session": event.session, "durable": event.durable, **data}))
        return
    data.pop("proposal", None)
    words = " ".join(f"{name}={json.dumps(value)}" for name, value in data.items())
    say(f"{event_name(event):<24} {(event.session or '-')[:16]}  {words}".rstrip())


async def show_summary(session: Session, arguments: argparse.Namespace) -> None:
    """What somebody consents to. What others wrote is escaped, and last."""
    own = [bytes.fromhex(script) for script in arguments.own_script]
    options = SummaryOptions(network=NETWORKS[arguments.network], own_scripts=own)
    say((await session.summary(options)).text.rstrip("\n"))


class Command(Broadcaster):
    """Broadcasts by a command that gets the transaction, in hexadecimal digits, on its standard input."""

    def __init__(self, command: str) -> None:
        self.command = command

    def submit(self, transaction: SignedTransaction) -> SubmitOutcome:
        subprocess.run(self.command, shell=True, check=True, input=transaction.bytes.hex().encode(), timeout=60)
        return Accepted()


def read_secret(path: str) -> LocalSigner:
    """A key that ``musig keygen`` wrote."""
    return LocalSigner(bytes.fromhex(Path(path).read_text().strip()))


def make_source(arguments: argparse.Namespace) -> ChainSource | None:
    """The Bitcoin backend that the options describe."""
    text = getattr(arguments, "source", None)
    if text is None:
        return None
    kind, _, where = text.partition(":")
    if kind == "core":
        password = os.environ.get("MUSIG_RPC_PASSWORD", "")
        return bitcoin_core(where, cookie_file=arguments.cookie, user=arguments.rpc_user, password=password)
    if kind == "esplora":
        return ChainSource.esplora(where)
    if kind == "electrum":
        return ChainSource.electrum(where if "://" in where else f"ssl://{where}")
    raise ValueError(f"{text!r} is no source; give core:URL, esplora:URL or electrum:HOST:PORT")


def read_psbt(path: str) -> Psbt:
    """A file with a PSBT: its bytes, or base64 text."""
    data = Path(path).read_bytes()
    return Psbt.from_bytes(data) if data.startswith(b"psbt\xff") else Psbt.from_base64(data.decode("ascii", "replace"))


def make_node(arguments: argparse.Namespace, offline: bool = False) -> Node:
    """The node that the common options describe. Without a source the user is the observer of the chain."""
    command = getattr(arguments, "broadcast_command", None)
    source = None if offline else make_source(arguments)
    return Node(
        signer=read_secret(arguments.key),
        store=arguments.store,
        listen=getattr(arguments, "listen", []),
        peers=getattr(arguments, "peer", []),
        offline=offline,
        source=source,
        broadcaster=Command(command) if command else None,
        without_observer=source is None,
    )


async def greet(node: Node, arguments: argparse.Namespace) -> bool:
    """Prints how others reach the node. False if it can listen nowhere; the events say why."""
    say(f"signer key  {node.signer_key}")
    # By default on IPv4 and IPv6, of which one is enough.
    wanted = len(arguments.listen) or 2
    failed: set[str] = set()
    kept = False
    while not (addresses := await node.listen_addresses()):
        if len(failed) >= wanted:
            print("musig: it can listen nowhere; free the port, or give --listen another address", file=sys.stderr)
            return False
        try:
            event = await asyncio.wait_for(node.next_event(), 0.05)
        except asyncio.TimeoutError:
            continue
        if event.durable:
            kept = True
            continue
        show_event(event, arguments.json)
        if isinstance(event.data, events.NetworkDegraded):
            failed.update(re.findall(r"^cannot listen on (\S+)", event.data.reason))
    for address in addresses:
        say(f"listening   {address}")
    if kept:
        await node.redeliver()
    return True


def on_signals(node: Node) -> None:
    """Stops the node at Ctrl-C, and when the system asks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            asyncio.get_running_loop().add_signal_handler(number, node.request_stop)
        except NotImplementedError:
            return


async def follow(node: Node, arguments: argparse.Namespace, session: str | None) -> int:
    """Prints events until the node stops, or, with --once, until the session is complete."""
    async for event in node.events():
        show_event(event, arguments.json)
        event.ack()
        if session is None or event.session != session:
            continue
        if isinstance(event.data, events.SessionComplete):
            for signature in event.data.signatures:
                say(f"signature   {signature.hex()}")
            if event.data.transaction is not None:
                say(f"transaction {event.data.transaction.bytes.hex()}")
            if getattr(arguments, "psbt_out", None):
                finished = read_psbt(arguments.psbt).with_signatures(event.data.signatures).finalized()
                Path(arguments.psbt_out).write_text(finished.to_base64() + "\n")
            if arguments.once:
                await linger(node)
                return 0
        failed = (events.SessionFailed, events.SessionAborted, events.SessionExpired)
        if isinstance(event.data, failed) and arguments.once:
            return 1
    return 0


async def linger(node: Node) -> None:
    """Stays a moment, so that the others get what they need from here."""

    async def serve() -> None:
        async for event in node.events():
            event.ack()

    try:
        await asyncio.wait_for(serve(), 2)
    except asyncio.TimeoutError:
        pass


def keygen(arguments: argparse.Namespace) -> int:
    """Makes a secret key and writes it to a file that only its owner may read."""
    while True:
        secret = secrets.token_bytes(32)
        try:
            signer = LocalSigner(secret)
            break
        except MusigError:
            continue
    descriptor = os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret.hex() + "\n")
    say(signer.public_key())
    return 0


def child_path(text: str) -> list[int]:
    """Child numbers: ``0/5``."""
    try:
        return [int(part) for part in text.removeprefix("m/").split("/")]
    except ValueError:
        problem = f"{text!r} is not a path of numbers like 0/5; from an aggregate key none can be hardened"
        raise argparse.ArgumentTypeError(problem) from None


def aggregate(arguments: argparse.Namespace) -> int:
    """The keys and the address that a group of signers owns."""
    order = KeyOrder.AS_GIVEN if arguments.as_given else KeyOrder.SORTED
    derivation = Derivation(path=arguments.path, taproot=KeyPath())
    keys = key_set(arguments.keys, order)
    key = aggregate_key(arguments.keys, order)
    output = final_key(keys, derivation)[2:]
    result = {
        "aggregate_key": key,
        "taproot_output_key": output,
        "script_pubkey": f"5120{output}",
        "address": address(keys, derivation, NETWORKS[arguments.network]),
        "xpub": synthetic_xpub(key),
    }
    if arguments.json:
        say(json.dumps(result))
    else:
        for name, value in result.items():
            say(f"{name:<20}{value}")
    return 0


def election(arguments: argparse.Namespace) -> int:
    """Who broadcasts, and who follows."""
    result = elect(arguments.keys, METHODS[arguments.method], arguments.session)
    if arguments.json:
        parts = {**plain(result), "method": arguments.method}
        say(json.dumps(parts))
        return 0
    say(f"method {arguments.method}, proof {result.proof}")
    for rank, index in enumerate(result.priority_list):
        say(f"{rank:>4}  signer {index:<4} {arguments.keys[index]}{'  coordinator' if rank == 0 else ''}")
    return 0


def show_address(arguments: argparse.Namespace) -> int:
    """An address of a descriptor, as ``tr(musig(xpub…,xpub…)/<0;1>/*)``."""
    descriptor = Descriptor(arguments.descriptor)
    made = descriptor.keys(arguments.index, arguments.branch)
    network = NETWORKS[arguments.network]
    shown = descriptor.address(network, arguments.index, arguments.branch)
    result = {
        "address": shown,
        "script_pubkey": descriptor.output_script(arguments.index, arguments.branch).hex(),
        "key": made.key,
        "participants": [participant.key for participant in made.key_set.participants],
        "descriptor": descriptor.text(),
    }
    say(json.dumps(result) if arguments.json else shown)
    return 0


def psbt_show(arguments: argparse.Namespace) -> int:
    """What a PSBT spends and pays, and who has signed."""
    shown, network = read_psbt(arguments.file), NETWORKS[arguments.network]
    inputs, outputs = shown.inputs(network), shown.outputs(network)
    if arguments.json:
        say(
            json.dumps(
                {
                    "version": shown.version(),
                    "txid": shown.txid(),
                    "inputs": [plain(each) for each in inputs],
                    "outputs": [plain(each) for each in outputs],
                }
            )
        )
        return 0
    say(f"PSBT version {shown.version()}, transaction {shown.txid()}")
    for number, each in enumerate(inputs):
        value = "an unknown amount" if each.value is None else f"{each.value} sat"
        say(f"input {number:<4} {value} of {each.address or 'a script without address'}")
        if each.is_final:
            say("           final")
        for participants in each.participants:
            signed = f"{each.nonces} nonces, {each.partials} partial signatures"
            say(f"           {len(participants)} participants, {signed}")
    for number, output in enumerate(outputs):
        say(f"output {number:<3} {output.value} sat to {output.address or output.script.hex()}")
    spent = [each.value for each in inputs if each.value is not None]
    if len(spent) == len(inputs):
        say(f"fee        {sum(spent) - sum(output.value for output in outputs)} sat")
    return 0


def psbt_combine(arguments: argparse.Namespace) -> int:
    """One PSBT with the fields of several of the same transaction."""
    first, *others = [read_psbt(path) for path in arguments.files]
    for other in others:
        first = first.combined(other)
    say(json.dumps({"psbt": first.to_base64()}) if arguments.json else first.to_base64())
    return 0


def psbt_finalize(arguments: argparse.Namespace) -> int:
    """The final PSBT of one that is signed; with --extract, its transaction."""
    final = read_psbt(arguments.file).finalized()
    if arguments.extract:
        transaction = final.extract()
        result = {"txid": transaction.txid, "transaction": transaction.bytes.hex()}
        say(json.dumps(result) if arguments.json else result["transaction"])
    else:
        say(json.dumps({"psbt": final.to_base64()}) if arguments.json else final.to_base64())
    return 0


async def run_node(arguments: argparse.Namespace) -> int:
    """Runs a node and prints its events."""
    async with make_node(arguments) as node, AsyncExitStack() as around:
        on_signals(node)
        if not await greet(node, arguments):
            return 1
        if arguments.metrics:
            say(f"metrics     {await around.enter_async_context(_metrics.serving(node, arguments.metrics))}")
        if arguments.metrics_file:
            await around.enter_async_context(_metrics.in_file(node, Path(arguments.metrics_file)))
        return await follow(node, arguments, None)


def spent_output(text: str) -> SpentOutput:
    """``VALUE:SCRIPT``."""
    value, _, script = text.partition(":")
    return SpentOutput(value=int(value), script=bytes.fromhex(script))


async def propose(arguments: argparse.Namespace) -> int:
    """Proposes a session and signs."""
    digests = [bytes.fromhex(text) for text in arguments.digest]
    digests += [hashlib.sha256(text.encode()).digest() for text in arguments.text]
    async with make_node(arguments) as node:
        on_signals(node)
        if not await greet(node, arguments):
            return 1
        transaction = bytes.fromhex(arguments.transaction) if arguments.transaction else None
        spends = read_psbt(arguments.psbt) if arguments.psbt else None
        wallet = Descriptor(arguments.descriptor) if arguments.descriptor else None
        session = await node.create_session(
            arguments.signer,
            messages=[Message(digest=digest) for digest in digests] if transaction is None and spends is None else None,
            transaction=transaction,
            psbt=spends,
            key_sets=wallet.key_sets(spends) if wallet is not None and spends is not None else [],
            spent=[spent_output(text) for text in arguments.spent],
            derivations=[Derivation(path=path, taproot=KeyPath()) for path in arguments.path],
            election_method=METHODS[arguments.method],
            sign_only=arguments.broadcast == "sign-only",
            coordinator_only=arguments.broadcast == "coordinator-only",
            broadcast_timeout=arguments.timeout if arguments.broadcast == "failover" else None,
            metadata=arguments.metadata.encode(),
            consent=JoinOptions(sign_blind=arguments.sign_blind),
        )
        say(f"proposed    {session.id()}")
        return await follow(node, arguments, session.id())


async def join(arguments: argparse.Namespace) -> int:
    """Waits for a proposal, shows it, asks, and signs."""
    async with make_node(arguments) as node:
        on_signals(node)
        if not await greet(node, arguments):
            return 1
        if arguments.session:
            known = [status.session for status in await node.sessions()]
            if arguments.session in known:
                handle = node.session(arguments.session)
                return await consent(node, handle, None, arguments)
        async for event in node.events():
            wanted = arguments.session in (None, event.session)
            if isinstance(event.data, events.SessionProposed) and event.session is not None and wanted:
                return await consent(node, node.session(event.session), event, arguments)
            show_event(event, arguments.json)
            if not isinstance(event.data, events.SessionProposed):
                event.ack()
        return 1


async def consent(
    node: Node, session: Session, event: NodeEvent | None, arguments: argparse.Namespace
) -> int:
    """Joins or declines, as the user says."""
    await show_summary(session, arguments)
    yes = arguments.yes or (await asyncio.to_thread(input, "sign this? [y/N] ")).strip().lower() in ("y", "yes")
    if yes:
        await session.join(JoinOptions(sign_blind=arguments.sign_blind))
    else:
        await session.decline("the user declined")
    if event is not None:
        event.ack()
    return await follow(node, arguments, session.id()) if yes else 1


def show_status(status: SessionStatus, as_json: bool) -> None:
    """One session, as one line."""
    if as_json:
        say(json.dumps(plain(status)))
        return
    line = f"{status.session}  {status.phase.name.lower():<10} signer {status.own_index} of {len(status.signers)}"
    if status.missing:
        line += f"  missing {status.missing}"
    if status.failover is not None:
        line += f"  turn {status.failover.turn} of signers {status.failover.current}"
    say(line)


async def status(arguments: argparse.Namespace) -> int:
    """The sessions in a store that no node has open."""
    async with make_node(arguments, offline=True) as node:
        for each in await node.sessions():
            show_status(each, arguments.json)
    return 0


async def export(arguments: argparse.Namespace) -> int:
    """Writes everything that a session holds to a file."""
    async with make_node(arguments, offline=True) as node:
        data = await node.session(arguments.session).export_session()
    Path(arguments.file).write_bytes(data)
    say(f"{len(data)} bytes")
    return 0


async def import_(arguments: argparse.Namespace) -> int:
    """Takes an exported file; with --join, signs what it proposes."""
    async with make_node(arguments, offline=True) as node:
        for session in await node.import_sessions(Path(arguments.file).read_bytes()):
            if arguments.join:
                await show_summary(session, arguments)
                await session.join()
            show_status(await session.status(), arguments.json)
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="musig", description="Sign together with MuSig2, without a server.")
    top.add_argument("--version", action="version", version=f"musig {library_version()}")
    commands = top.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Any, *groups: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print JSON, one object a line")
        if "keys" in groups:
            added.add_argument("keys", nargs="+", metavar="KEY", help="public keys, in the order of the proposal")
        if "store" in groups:
            added.add_argument("--key", required=True, metavar="FILE", help="the secret key that keygen wrote")
            added.add_argument("--store", required=True, metavar="FILE", help="where sessions are kept")
        if "network" in groups:
            added.add_argument("--listen", action="append", default=[], metavar="ADDRESS")
            added.add_argument("--peer", action="append", default=[], metavar="ADDRESS")
            added.add_argument("--broadcast-command", metavar="COMMAND", help="gets the transaction on its input")
            added.add_argument(
                "--source",
                metavar="SOURCE",
                help="broadcasts and observes: core:URL, esplora:URL, electrum:HOST:PORT (TLS), electrum:tcp://HOST:PORT",
            )
            added.add_argument("--cookie", metavar="FILE", help="of core: .cookie in the node's data directory")
            added.add_argument("--rpc-user", metavar="USER", help="of core, with the password in MUSIG_RPC_PASSWORD")
        if "once" in groups:
            added.add_argument("--once", action="store_true", help="end when the session is complete")
        return added

    make = command("keygen", keygen)
    make.add_argument("--out", required=True, metavar="FILE", help="the file to make; must not exist")
    group = command("aggregate", aggregate, "keys")
    group.add_argument("--as-given", action="store_true", help="do not sort")
    group.add_argument("--path", type=child_path, default=[], metavar="PATH", help="child numbers (BIP-328), as in 0/5")
    group.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="that the address is of")
    where = command("address", show_address)
    where.add_argument("--descriptor", required=True, metavar="TEXT", help="as tr(musig(xpub…,xpub…)/<0;1>/*)")
    where.add_argument("--index", type=int, default=0, metavar="N")
    where.add_argument("--branch", type=int, default=0, metavar="N", help="of <0;1>: 0 receives, 1 takes change")
    where.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="that the address is of")
    vote = command("elect", election, "keys")
    vote.add_argument("--method", choices=sorted(METHODS), default="lexicographic")
    vote.add_argument("--session", metavar="ID", help="needed for session-salted")
    stay = command("node", run_node, "store", "network")
    stay.add_argument("--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus there, at /metrics")
    stay.add_argument("--metrics-file", metavar="FILE", help="keep them in this file, for a node exporter")
    new = command("propose", propose, "store", "network", "once")
    new.add_argument("--signer", action="append", required=True, metavar="KEY", help="in order, the own key too")
    new.add_argument("--digest", action="append", default=[], metavar="HEX", help="32 bytes to sign")
    new.add_argument("--text", action="append", default=[], help="a text whose SHA-256 is signed")
    new.add_argument("--transaction", metavar="HEX", help="an unsigned transaction, instead of digests")
    new.add_argument("--spent", action="append", default=[], metavar="VALUE:SCRIPT", help="for each of its inputs")
    new.add_argument("--psbt", metavar="FILE", help="a PSBT, instead of digests: its bytes, or base64 text")
    new.add_argument("--descriptor", metavar="TEXT", help="of the wallet that the PSBT spends from, keys as --signer")
    new.add_argument("--psbt-out", metavar="FILE", help="gets the PSBT once it is signed and final")
    new.add_argument("--path", type=child_path, action="append", default=[], help="of each address that it spends")
    new.add_argument("--method", choices=sorted(METHODS), default="lexicographic")
    new.add_argument(
        "--broadcast",
        choices=["failover", "coordinator-only", "sign-only"],
        default="failover",
        help="who broadcasts: the next signer if one does not, the coordinator alone, or nobody",
    )
    new.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="until the next signer's turn")
    new.add_argument("--metadata", default="", help="words to the other signers")
    agree = command("join", join, "store", "network", "once")
    agree.add_argument("session", nargs="?", metavar="ID", help="the first that is proposed, if it is not given")
    agree.add_argument("--yes", action="store_true", help="sign without asking")
    for signs in (new, agree):
        signs.add_argument("--sign-blind", action="store_true", help="sign digests with keys that own coins, too")
    command("status", status, "store")
    steps = commands.add_parser("psbt", help="PSBTs: show, combine, finalize").add_subparsers(required=True, metavar="step")

    def step(name: str, run: Any) -> argparse.ArgumentParser:
        added = steps.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    show = step("show", psbt_show)
    show.add_argument("file", metavar="FILE")
    show.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="of the addresses shown")
    step("combine", psbt_combine).add_argument("files", nargs="+", metavar="FILE")
    final = step("finalize", psbt_finalize)
    final.add_argument("file", metavar="FILE")
    final.add_argument("--extract", action="store_true", help="print the transaction, in hexadecimal digits")
    for shows in (agree, take := command("import", import_, "store")):
        shows.add_argument("--network", choices=sorted(NETWORKS), default="mainnet", help="of the addresses shown")
        shows.add_argument("--own-script", action="append", default=[], metavar="HEX", help="of the own wallet")
    out = command("export", export, "store")
    out.add_argument("session", metavar="ID")
    out.add_argument("file", metavar="FILE")
    take.add_argument("file", metavar="FILE")
    take.add_argument("--join", action="store_true", help="consent to what it proposes")
    return top


def main(words: list[str] | None = None) -> int:
    """Runs a command. Errors are one line, and the status 1."""
    arguments = parser().parse_args(words)
    try:
        result = arguments.run(arguments)
        return int(asyncio.run(result)) if asyncio.iscoroutine(result) else int(result)
    except (MusigError, OSError, ValueError) as error:
        print(f"musig: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
