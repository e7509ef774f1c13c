"""Signers: ``LocalSigner`` with a key in this process, or an object of the application's own class."""

from __future__ import annotations

from abc import ABC, abstractmethod

from . import _ffi
from ._ffi import LocalSigner, NonceRequest, PartialRequest, SignerProblem


class Signer(_ffi.Signer, ABC):
    """Foreign signer: holder of one secret key in another process, or in a device that speaks MuSig2.

    Called on a thread of the node's own, one call at a time; it may block. ``errors.SignerFailed`` says why it did
    not sign; any other exception becomes a ``SignerFailed`` event too, and the call is repeated.
    """

    @abstractmethod
    def public_key(self) -> str:
        """The public key. Called once, when the node starts."""

    @abstractmethod
    def sign(self, digest: bytes) -> bytes:
        """Makes a BIP-340 signature (64 bytes) over a digest (32 bytes)."""

    @abstractmethod
    def make_nonces(self, request: NonceRequest) -> list[bytes]:
        """Makes secret nonces, keeps them, and returns the public ones: 66 bytes for each message."""

    @abstractmethod
    def make_partials(self, request: PartialRequest) -> list[bytes]:
        """Consumes the nonces, and returns partial signatures: 32 bytes for each message."""

    @abstractmethod
    def forget(self, session: str, attempt: int) -> None:
        """Wipes the session's unused nonces of attempts up to and including this one."""


__all__ = ["LocalSigner", "NonceRequest", "PartialRequest", "Signer", "SignerProblem"]
