"""Files of secret keys: 32 bytes in hexadecimal digits, or sealed with a passphrase.

A sealed file has one line, ``musig-sealed-1 SALT SEALED``: 16 bytes of salt, and the secret under ChaCha20-Poly1305. The key is
scrypt's (N = 2^17, r = 8, p = 1) of the passphrase in UTF-8, normalized by NFC; it is used once, so the nonce is zeros. The
line's first word is the associated data.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

from .._ffi import LocalSigner
from ..errors import MusigError
from .config import config_path
from .output import warn

SEALED = "musig-sealed-1"


def cipher(words: str, salt: bytes) -> Any:
    """The cipher of a passphrase."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    except ImportError:
        raise ValueError("passphrases need the package cryptography, or libmusig with its extra `passphrase`") from None
    key = hashlib.scrypt(unicodedata.normalize("NFC", words).encode(), salt=salt, n=1 << 17, r=8, p=1, maxmem=1 << 28, dklen=32)
    return ChaCha20Poly1305(key)


def seal(secret: bytes, words: str, salt: bytes) -> str:
    """The line of a sealed file. The salt must be new and random."""
    return f"{SEALED} {salt.hex()} {cipher(words, salt).encrypt(bytes(12), secret, SEALED.encode()).hex()}"


def unseal(line: str, words: str) -> bytes:
    """The secret in a sealed line."""
    _, salt, sealed = line.split()
    opened: bytes = cipher(words, bytes.fromhex(salt)).decrypt(bytes(12), bytes.fromhex(sealed), SEALED.encode())
    return opened


def ask_passphrase(path: str, new: bool = False) -> str:
    """The passphrase of a key: from the file that MUSIG_PASSPHRASE_FILE names, else from the terminal."""
    file = os.environ.get("MUSIG_PASSPHRASE_FILE")
    if file:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    if not sys.stdin.isatty():
        raise ValueError(f"--key {path}: its passphrase is asked at a terminal, or read from what MUSIG_PASSPHRASE_FILE names")
    words = getpass.getpass(f"passphrase of {path}: ")
    if new and getpass.getpass("once more: ") != words:
        raise ValueError("--passphrase: these were two different ones")
    return words


def write_private(path: str, line: str) -> None:
    """Makes a file of one line, which only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(line + "\n")


def write_secret(path: str, secret: bytes, sealed: bool) -> None:
    """Makes the file, which only its owner may read."""
    text = secret.hex()
    if sealed:
        words = ask_passphrase(path, new=True)
        if not words:
            raise ValueError("--passphrase: an empty one protects nothing")
        text = seal(secret, words, os.urandom(16))
    write_private(path, text)


def read_secret(arguments: argparse.Namespace) -> LocalSigner:
    """The key that ``--key`` names, from a file that ``musig keygen`` wrote."""
    if arguments.key is None:
        raise ValueError(f"--key: give the file of the secret key, or its name in {config_path()}, here or in MUSIG_KEY")
    path = str(arguments.key)
    file = Path(path)
    try:
        text, mode = file.read_text().strip(), file.stat().st_mode
    except FileNotFoundError:
        raise ValueError(f"--key {path}: there is no such file, and no such name in {config_path()}") from None
    except OSError as error:
        raise ValueError(f"--key {path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"--key {path}: that is no secret key of `musig keygen`") from None
    if os.name == "posix" and mode & 0o077:
        warn(f"--key {path}: other users may read this secret key; `chmod 600 {path}`")
    is_sealed = text.startswith(SEALED + " ")
    words = ask_passphrase(path) if is_sealed else ""
    try:
        return LocalSigner(unseal(text, words) if is_sealed else bytes.fromhex(text))
    except (ValueError, MusigError):
        raise ValueError(f"--key {path}: that is no secret key of `musig keygen`") from None
    except Exception as error:
        if type(error).__name__ != "InvalidTag":
            raise
        raise ValueError(f"--key {path}: that is not its passphrase, or the file is damaged") from None
