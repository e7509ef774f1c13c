"""Names for keys and for other signers: ``~/.config/musig.toml``.

::

    [keys.alice]
    key = "alice.key"
    store = "alice.redb"
    peers = ["/dns/bob.example/tcp/4001"]
    source = "electrum:host.example:50002"

    [contacts]
    bob = "03…"
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PATHS = {"key", "store", "control", "cookie"}
"""Fields of a key that are files, from the folder of the configuration on."""
LISTS = {"listen": "listen", "peers": "peer"}
TEXTS = {name: name for name in (*PATHS, "source", "rpc_user", "broadcast_command")}
FIELDS = {**TEXTS, **LISTS}
"""Fields of a key, and the options that they stand for."""
PUBLIC_KEY = re.compile("0[23][0-9a-f]{64}")


@dataclass
class Config:
    """What the file says."""

    path: Path
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    contacts: dict[str, str] = field(default_factory=dict)

    def public_key(self, text: str, option: str) -> str:
        """A public key, given in digits or as a contact's name."""
        if text in self.contacts:
            return self.contacts[text]
        if not PUBLIC_KEY.fullmatch(text.lower()):
            raise ValueError(f"{option} {text}: neither a public key (66 hexadecimal digits) nor a contact in {self.path}")
        return text.lower()

    def name(self, public_key: str) -> str | None:
        """The contact whose key this is."""
        return next((name for name, key in self.contacts.items() if key == public_key), None)


def config_path() -> Path:
    """Where the file is, if there is one."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "musig.toml"


def load() -> Config:
    """Reads the file. Without one nothing has a name."""
    config = Config(config_path())
    try:
        read = tomllib.loads(config.path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return config
    except (OSError, ValueError) as error:
        raise ValueError(f"{config.path}: {error}") from None

    def refuse(where: str, wanted: str) -> ValueError:
        return ValueError(f"{config.path}: {where} {wanted}")

    for part, content in read.items():
        if part not in ("keys", "contacts") or not isinstance(content, dict):
            raise refuse(part, "is not known; there are the tables keys.NAME and contacts")
    for name, fields in read.get("keys", {}).items():
        if not isinstance(fields, dict) or "key" not in fields:
            raise refuse(f"keys.{name}", "has no `key`, the file of the secret key")
        for each, value in fields.items():
            if each not in FIELDS:
                raise refuse(f"keys.{name}.{each}", f"is not known; there are {', '.join(FIELDS)}")
            is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
            if not (is_list if each in LISTS else isinstance(value, str)):
                raise refuse(f"keys.{name}.{each}", "must be a list of texts" if each in LISTS else "must be a text")
        config.keys[name] = {
            each: str(config.path.parent / Path(value).expanduser()) if each in PATHS else value
            for each, value in fields.items()
        }
    for name, key in read.get("contacts", {}).items():
        if not isinstance(key, str) or not PUBLIC_KEY.fullmatch(key.lower()):
            raise refuse(f"contacts.{name}", "must be a public key: 66 hexadecimal digits")
        config.contacts[name] = key.lower()
    return config


def settle(arguments: argparse.Namespace) -> None:
    """Fills in what the options leave open: from ``MUSIG_KEY``, and from what a named key has in the file."""
    arguments.config = config = load()
    for option in ("signer", "keys"):
        if hasattr(arguments, option):
            label = "--signer" if option == "signer" else "KEY"
            setattr(arguments, option, [config.public_key(text, label) for text in getattr(arguments, option)])
    if not hasattr(arguments, "key"):
        return
    if arguments.key is None:
        arguments.key = os.environ.get("MUSIG_KEY") or None
    for each, value in config.keys.get(arguments.key or "", {}).items():
        option = FIELDS[each]
        if each == "key" or getattr(arguments, option, 0) in (None, []):
            setattr(arguments, option, value)
