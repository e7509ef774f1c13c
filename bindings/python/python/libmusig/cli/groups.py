"""The commands ``musig account``, ``musig card`` and ``musig group``."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MusigError
from ..group import Group, SignerCard
from ..psbt import Descriptor
from .extended import account_of, extended_key, origin_text, public_of
from .output import Output
from .secret import read_secret, write_private
from .tools import NETWORKS, read_group


def read_card(text: str) -> SignerCard:
    """A card, or a file with one."""
    return SignerCard.parse(text if text.lower().startswith("musig1") else Path(text).read_text())


def wallet_of(text: str) -> Descriptor:
    """The descriptor of a group's file, or of its text."""
    try:
        return read_group(text).descriptor() if Path(text).is_file() else Descriptor(text)
    except (OSError, MusigError) as error:
        raise ValueError(f"--wallet {text}: {error}") from None


def shown_card(card: SignerCard) -> dict[str, Any]:
    """A card for people. What its owner wrote is escaped."""
    name = card.name()
    return {
        "identity": card.identity(),
        "xpub": origin_text(card.origin()) + card.xpub(),
        "name": None if name is None else ascii(name)[1:-1],
        "addresses": card.addresses(),
    }


def account(arguments: argparse.Namespace) -> int:
    """Makes an extended private key for a wallet of groups (BIP-86's account 0 of a new seed), and writes it to a file that
    only its owner may read."""
    private, public = account_of(secrets.token_bytes(32), arguments.network == "mainnet")
    write_private(arguments.out, private)
    arguments.output.say(public, {"xpub": public, "file": arguments.out})
    return 0


def card(arguments: argparse.Namespace) -> int:
    """Makes a card, for the others of a group; or shows one."""
    if arguments.show is not None:
        shown = shown_card(read_card(arguments.show))
        lines = [f"{name:<12}{' '.join(value) if isinstance(value, list) else value or '-'}" for name, value in shown.items()]
        arguments.output.say("\n".join(lines), shown)
        return 0
    if arguments.key is None or (arguments.xpub is None) == (arguments.xprv is None):
        raise ValueError("a card needs --key, and --xpub or --xprv; to see one, give --show")
    origin, xpub = extended_key(arguments.xpub or public_of(arguments.xprv))
    made = SignerCard(read_secret(arguments), xpub, origin, arguments.name, arguments.address)
    text = made.qr_text() if arguments.qr else made.text()
    arguments.output.say(text, {"card": text})
    return 0


def create(arguments: argparse.Namespace) -> int:
    """Makes a group of the cards of all its signers, and writes it to a file."""
    group = Group([read_card(text) for text in arguments.cards])
    handle = os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(group.to_json())
    return show_group(group, arguments.output)


def show(arguments: argparse.Namespace) -> int:
    """The signers of a group, its check phrase and its descriptor."""
    return show_group(read_group(arguments.file), arguments.output)


def show_group(group: Group, output: Output) -> int:
    """What all signers compare."""
    cards = [shown_card(card) for card in group.cards()]
    check, descriptor = group.check_phrase(), group.descriptor().text()
    lines = [f"signer {index:<5}{each['identity']} {each['name'] or ''}".rstrip() for index, each in enumerate(cards)]
    lines += [
        f"descriptor  {descriptor}",
        f"check       {check}",
        "Compare these eight words aloud with all signers before anything is paid to an address of the group.",
    ]
    output.say("\n".join(lines), {"check": check, "descriptor": descriptor, "signers": cards})
    return 0


def group_address(arguments: argparse.Namespace) -> int:
    """An address of a group."""
    group = read_group(arguments.file)
    shown = group.address(NETWORKS[arguments.network], arguments.index, arguments.change)
    arguments.output.say(shown, {"address": shown, "change": arguments.change, "index": arguments.index})
    return 0


def add_commands(
    commands: Any, command: Callable[..., argparse.ArgumentParser], common: Callable[[argparse.ArgumentParser], None]
) -> None:
    """The three commands and their options."""
    wallet = command("account", account)
    wallet.add_argument("--out", required=True, metavar="FILE", help="the file to make, for --xprv; must not exist. Keep a copy")
    wallet.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="that its coins are on")
    made = command("card", card)
    made.add_argument("--key", metavar="FILE", help="the identity key, which signs the card, or its name in musig.toml")
    made.add_argument("--xpub", metavar="TEXT", help="the wallet's extended public key with its origin, as [a1b2c3d4/86h/0h/0h]xpub…")
    made.add_argument("--xprv", metavar="FILE", help="the file of --xprv of propose and join, instead of --xpub")
    made.add_argument("--name", metavar="NAME", help="what the others call you")
    made.add_argument("--address", action="append", default=[], metavar="ADDRESS", help="where your node is reached")
    made.add_argument("--qr", action="store_true", help="in upper case, which is shorter in a QR code")
    made.add_argument("--show", metavar="CARD", help="show a card, or a file with one, instead")
    text = "Groups of signers: create, show, address."
    steps = commands.add_parser("group", help=text, description=text).add_subparsers(required=True, metavar="step")

    def step(name: str, run: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = steps.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        common(added)
        return added

    new = step("create", create)
    new.add_argument("cards", nargs="+", metavar="CARD", help="the card of each signer, your own too, or a file with it")
    new.add_argument("--out", required=True, metavar="FILE", help="the file to make; must not exist")
    step("show", show).add_argument("file", metavar="FILE")
    where = step("address", group_address)
    where.add_argument("file", metavar="FILE")
    where.add_argument("--index", type=int, default=0, metavar="N")
    where.add_argument("--change", action="store_true", help="of those that take change")
    where.add_argument("--network", choices=list(NETWORKS), default="mainnet", help="that the address is of")
