"""All commands and their options."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from .._ffi import library_version
from . import completion, groups, requests, sessions, tools
from .tools import METHODS, NETWORKS
from .until import GOALS


def child_path(text: str) -> list[int]:
    """Child numbers: ``0/5``."""
    try:
        return [int(part) for part in text.removeprefix("m/").split("/")]
    except ValueError:
        problem = f"{text!r} is not a path of numbers like 0/5; from an aggregate key none can be hardened"
        raise argparse.ArgumentTypeError(problem) from None


def hexadecimal(text: str) -> str:
    """Bytes in hexadecimal digits."""
    try:
        return bytes.fromhex(text).hex()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no hexadecimal digits") from None


def digest(text: str) -> str:
    """32 bytes in hexadecimal digits."""
    if len(hexadecimal(text)) != 64:
        raise argparse.ArgumentTypeError(f"{text!r} has not 32 bytes")
    return hexadecimal(text)


def spent_output(text: str) -> str:
    """``VALUE:SCRIPT``."""
    value, _, script = text.partition(":")
    if not value.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with an amount in satoshi, as 10000:5120…")
    return f"{value}:{hexadecimal(script)}"


def seconds(text: str) -> float:
    """A duration."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}; see `{self.prog} --help`\n")


def complete(arguments: argparse.Namespace) -> int:
    """Prints a script that completes commands and options in bash and zsh."""
    script = completion.script(parser())
    arguments.output.say(script.rstrip(), {"script": script})
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(prog="musig", description="Sign together with MuSig2, without a server.")
    top.add_argument("--version", action="version", version=f"musig {library_version()}")
    commands = top.add_subparsers(required=True, metavar="command")

    def common(added: argparse.ArgumentParser) -> None:
        added.add_argument("--json", action="store_true", help="print JSON, one object a line, and nothing else")
        added.add_argument("-v", "--verbose", action="count", default=0, help="print the log, with -vv more of it")

    def command(name: str, run: Any, *groups: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        common(added)
        if "keys" in groups:
            added.add_argument("keys", nargs="+", metavar="KEY", help="public keys or contacts, in the order of the proposal")
        if "store" in groups:
            added.add_argument("--key", metavar="FILE", help="the secret key that keygen wrote, or its name in musig.toml")
            added.add_argument("--store", metavar="FILE", help="where sessions are kept")
            added.add_argument("--control", metavar="SOCKET", help="of a node that runs, or is to answer there")
        if "network" in groups:
            added.add_argument("--listen", action="append", default=[], metavar="ADDRESS")
            added.add_argument("--peer", action="append", default=[], metavar="ADDRESS")
            added.add_argument(
                "--xprv",
                metavar="FILE",
                help="sign with the keys of this wallet, too: an extended private key with its origin, as [a1b2c3d4/86h/0h/0h]xprv…",
            )
            added.add_argument(
                "--wallet",
                action="append",
                default=[],
                metavar="WALLET",
                help="your own: a group's file, or a descriptor. What pays to it is shown as yours; it is kept in the store",
            )
            added.add_argument("--next-index", type=int, default=0, metavar="N", help="the wallet's first index that was not used yet")
        if "network" in groups or "chain" in groups:
            added.add_argument("--broadcast-command", metavar="COMMAND", help="gets the transaction on its input")
            added.add_argument(
                "--source",
                metavar="SOURCE",
                help="broadcasts and observes: core:URL, esplora:URL, electrum:HOST:PORT (TLS), electrum:tcp://HOST:PORT",
            )
            added.add_argument("--cookie", metavar="FILE", help="of core: .cookie in the node's data directory")
            added.add_argument("--rpc-user", metavar="USER", help="of core, with the password in MUSIG_RPC_PASSWORD")
        if "until" in groups:
            added.add_argument(
                "--until",
                choices=list(GOALS),
                help="end when the signatures are complete, or the transaction is seen, in a block, or final (the default for"
                " transactions). Exit status: 0 that is reached; 3 nothing is; else only 4 the signatures, 5 seen, 6 in a block;"
                " 7 another transaction spent its coins",
            )
        return added

    make = command("keygen", tools.keygen)
    make.add_argument("--out", required=True, metavar="FILE", help="the file to make; must not exist")
    make.add_argument("--passphrase", action="store_true", help="seal it with a passphrase, which is asked for")
    command("pubkey", tools.pubkey).add_argument("--key", metavar="FILE", help="the secret key, or its name in musig.toml")
    group = command("aggregate", tools.aggregate, "keys")
    group.add_argument("--as-given", action="store_true", help="do not sort")
    group.add_argument("--path", type=child_path, default=[], metavar="PATH", help="child numbers (BIP-328), as in 0/5")
    group.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="that the address is of")
    where = command("address", tools.show_address)
    where.add_argument("--descriptor", required=True, metavar="TEXT", help="as tr(musig(xpub…,xpub…)/<0;1>/*)")
    where.add_argument("--index", type=int, default=0, metavar="N")
    where.add_argument("--branch", type=int, default=0, metavar="N", help="of <0;1>: 0 receives, 1 takes change")
    where.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="that the address is of")
    groups.add_commands(commands, command, common)
    vote = command("elect", tools.election, "keys")
    vote.add_argument("--method", choices=sorted(METHODS), default="lexicographic")
    vote.add_argument("--session", metavar="ID", help="needed for session-salted")
    stay = command("node", sessions.run_node, "store", "network")
    stay.add_argument("--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus there, at /metrics")
    stay.add_argument("--metrics-file", metavar="FILE", help="keep them in this file, for a node exporter")
    stay.add_argument("--drop", metavar="FOLDER", help="exchange sessions through this folder's files, too")
    stay.add_argument("--offline", action="store_true", help="use no network but for the source")
    new = command("propose", sessions.propose, "store", "network", "until")
    who = new.add_mutually_exclusive_group(required=True)
    who.add_argument("--signer", action="append", default=[], metavar="KEY", help="in order, the own key too")
    who.add_argument("--group", metavar="FILE", help="of the wallet that the PSBT spends from, in place of signers and descriptor")
    new.add_argument("--digest", type=digest, action="append", default=[], metavar="HEX", help="32 bytes to sign")
    new.add_argument("--text", action="append", default=[], help="a text whose SHA-256 is signed")
    new.add_argument("--transaction", type=hexadecimal, metavar="HEX", help="an unsigned transaction, instead of digests")
    new.add_argument("--spent", type=spent_output, action="append", default=[], metavar="VALUE:SCRIPT", help="for each of its inputs")
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
    new.add_argument("--timeout", type=seconds, default=300, metavar="SECONDS", help="until the next signer's turn")
    new.add_argument("--metadata", default="", help="words to the other signers")
    agree = command("join", sessions.join, "store", "network", "until")
    agree.add_argument("session", nargs="?", metavar="ID", help="the first that is proposed, if it is not given")
    agree.add_argument("--yes", action="store_true", help="sign without asking")
    for signs in (new, agree):
        signs.add_argument("--sign-blind", action="store_true", help="sign digests with keys that own coins, too")
    command("status", requests.status, "store").add_argument("session", nargs="?", metavar="ID", help="only this one")
    for name, run in (("decline", requests.decline), ("abort", requests.abort)):
        ends = command(name, run, "store")
        ends.add_argument("session", metavar="ID")
        ends.add_argument("--reason", default="", metavar="TEXT", help="that the other signers are told")
    said = command("notify", requests.notify, "store")
    said.add_argument("session", metavar="ID")
    said.add_argument("--txid", metavar="TXID", help="of a session over digests, for the other signers")
    command("tx", requests.tx, "store").add_argument("session", metavar="ID")
    command("broadcast", requests.broadcast, "store", "chain").add_argument("session", metavar="ID")
    command("metrics", requests.metrics, "store")
    command("top", requests.top, "store")
    steps = commands.add_parser("psbt", help="PSBTs: show, update, combine, finalize").add_subparsers(required=True, metavar="step")

    def step(name: str, run: Any) -> argparse.ArgumentParser:
        added = steps.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        common(added)
        return added

    show = step("show", tools.psbt_show)
    show.add_argument("file", metavar="FILE")
    show.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="of the addresses shown")
    fill = step("update", tools.psbt_update)
    fill.add_argument("file", metavar="FILE")
    fill.add_argument("--group", metavar="FILE", help="of the wallet that it spends from")
    fill.add_argument("--descriptor", metavar="TEXT", help="of the wallet, in place of the group")
    fill.add_argument("--indices", type=int, default=1000, metavar="N", help="look at that many addresses of each branch")
    step("combine", tools.psbt_combine).add_argument("files", nargs="+", metavar="FILE")
    final = step("finalize", tools.psbt_finalize)
    final.add_argument("file", metavar="FILE")
    final.add_argument("--extract", action="store_true", help="print the transaction, in hexadecimal digits")
    for shows in (agree, take := command("import", requests.import_, "store")):
        shows.add_argument("--network", choices=sorted(NETWORKS), default="mainnet", help="of the addresses shown")
        shows.add_argument("--own-script", type=hexadecimal, action="append", default=[], metavar="HEX", help="of the own wallet")
    out = command("export", requests.export, "store")
    out.add_argument("session", metavar="ID")
    out.add_argument("file", metavar="FILE")
    take.add_argument("file", metavar="FILE")
    take.add_argument("--join", action="store_true", help="consent to what it proposes")
    command("completion", complete)
    return top
