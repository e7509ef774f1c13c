"""Extended keys with their origins: ``[a1b2c3d4/86h/0h/0h]xpub…``."""

from __future__ import annotations

import re
from pathlib import Path

from .._ffi import LocalSigner
from ..errors import MusigError
from ..keys import KeyOrigin
from ..psbt import Descriptor

HARDENED = 1 << 31
"""The first hardened child number."""


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


def public_of(path: str) -> str:
    """The extended public key of the private one in a file, with its origin."""
    # Descriptors make private keys public at once.
    found = re.search(r"musig\((.*?)\)", Descriptor(f"tr(musig({Path(path).read_text().strip()})/0/*)").text())
    if found is None:
        raise ValueError(f"{path} has no extended private key with its origin")
    return found[1]


def add_xprv(signer: LocalSigner, path: str) -> None:
    """Adds the extended private key in a file to a signer."""
    try:
        origin, xprv = extended_key(Path(path).read_text())
        signer.add_xprv(xprv, origin)
    except OSError as error:
        raise ValueError(f"--xprv {path}: {error.strerror}") from None
    except (ValueError, MusigError) as error:
        raise ValueError(f"--xprv {path}: {error}") from None
