"""Extended keys with their origins: ``[a1b2c3d4/86h/0h/0h]xpub…``."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from .._ffi import LocalSigner
from ..errors import MusigError
from ..keys import KeyOrigin
from ..psbt import Descriptor

HARDENED = 1 << 31
"""The first hardened child number."""

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""How many secret keys secp256k1 has, and 0."""

DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Of base58."""

XPRV, TPRV = bytes.fromhex("0488ade4"), bytes.fromhex("04358394")
"""The first bytes of extended private keys (BIP-32), of the main network and of test networks."""


def base58check(data: bytes) -> str:
    """Bytes as base58 text with a checksum. None of ours begins with a zero."""
    number = int.from_bytes(data + hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4], "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = DIGITS[digit] + text
    return text


def from_base58check(text: str) -> bytes:
    """The bytes of an extended key's text, which was read before, without its checksum."""
    number = 0
    for character in text:
        number = number * 58 + DIGITS.index(character)
    return number.to_bytes(82, "big")[:-4]


def account_of(seed: bytes, mainnet: bool) -> tuple[str, str]:
    """The account m/86h/0h/0h (BIP-86) of a seed, or m/86h/1h/0h on test networks: private, public, with their origins."""
    made = hmac.digest(b"Bitcoin seed", seed, "sha512")
    master = (XPRV if mainnet else TPRV) + bytes(9) + made[32:] + b"\0" + made[:32]
    path = [86 + HARDENED, HARDENED if mainnet else 1 + HARDENED, HARDENED]
    steps = "".join(f"/{step - HARDENED}h" for step in path)
    public = public_text(f"{base58check(master)}{steps}")
    for step in path:
        child = hmac.digest(made[32:], b"\0" + made[:32] + step.to_bytes(4, "big"), "sha512")
        secret = (int.from_bytes(child[:32], "big") + int.from_bytes(made[:32], "big")) % ORDER
        made = secret.to_bytes(32, "big") + child[32:]
    # Depth, parent, child number and chain code are those of the public key.
    origin, xpub = extended_key(public)
    data = from_base58check(xpub)
    private = origin_text(origin) + base58check(master[:4] + data[4:45] + b"\0" + made[:32])
    if public_text(private) != public:
        raise ValueError("the account's private key is not that of its public key; please report it")
    return private, public


def extended_key(text: str) -> tuple[KeyOrigin, str]:
    """Where an extended key is, and the key."""
    found = re.fullmatch(r"\[([0-9a-fA-F]{8})((?:/[0-9]+[h'H]?)*)\]([1-9A-Za-z]+)", text.strip())
    if found is None:
        raise ValueError("an extended key needs its origin, as in [a1b2c3d4/86h/0h/0h]xpub…")
    path = []
    for step in found[2].split("/")[1:]:
        number = int(step.rstrip("h'H"))
        if number >= HARDENED:
            raise ValueError(f"{step} is no child number; they are below 2147483648")
        path.append(number + (0 if step[-1].isdigit() else HARDENED))
    return KeyOrigin(fingerprint=bytes.fromhex(found[1]), path=path), found[3]


def origin_text(origin: KeyOrigin) -> str:
    """``[a1b2c3d4/86h/0h/0h]``."""
    steps = [f"/{step - HARDENED}h" if step >= HARDENED else f"/{step}" for step in origin.path]
    return f"[{origin.fingerprint.hex()}{''.join(steps)}]"


def public_text(private: str) -> str:
    """The extended public key of a private one, with its origin."""
    # Descriptors make private keys public at once.
    found = re.search(r"musig\((.*?)\)", Descriptor(f"tr(musig({private})/0/*)").text())
    if found is None:
        raise ValueError("that is no extended private key with its origin")
    return found[1]


def public_of(path: str) -> str:
    """The extended public key of the private one in a file, with its origin."""
    return public_text(Path(path).read_text().strip())


def add_xprv(signer: LocalSigner, path: str) -> None:
    """Adds the extended private key in a file to a signer."""
    try:
        origin, xprv = extended_key(Path(path).read_text())
        signer.add_xprv(xprv, origin)
    except OSError as error:
        raise ValueError(f"--xprv {path}: {error.strerror}") from None
    except (ValueError, MusigError) as error:
        raise ValueError(f"--xprv {path}: {error}") from None
