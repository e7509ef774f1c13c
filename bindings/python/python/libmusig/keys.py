"""Key sets, derivations, and the keys and addresses that they make.

A key set has one participant key for each signer. Its aggregate key is what a ``Derivation`` starts from: child numbers
(BIP-328), then, for Taproot outputs, ``KeyPath()`` or ``MerkleRoot(root)`` (BIP-341).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._ffi import (
    Derivation,
    KeyDerivation,
    KeyOrder,
    KeyOrigin,
    KeySet,
    Network,
    Participant,
    Taproot,
    address,
    aggregate_key,
    final_key,
    key_set,
    sort_keys,
    synthetic_xpub,
)

if TYPE_CHECKING:

    class KeyPath(Taproot):
        """The key is the internal key of an output without scripts."""

        def __init__(self) -> None: ...

    class MerkleRoot(Taproot):
        """The key is the internal key of an output with scripts of this merkle root."""

        root: bytes

        def __init__(self, root: bytes) -> None: ...

else:
    KeyPath, MerkleRoot = Taproot.KEY_PATH, Taproot.MERKLE_ROOT


__all__ = [
    "Derivation",
    "KeyDerivation",
    "KeyOrder",
    "KeyOrigin",
    "KeyPath",
    "KeySet",
    "MerkleRoot",
    "Network",
    "Participant",
    "Taproot",
    "address",
    "aggregate_key",
    "final_key",
    "key_set",
    "sort_keys",
    "synthetic_xpub",
]
