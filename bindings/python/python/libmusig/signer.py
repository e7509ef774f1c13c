"""Signers: ``LocalSigner`` with keys in this process, and objects of the application's own classes for others."""

from __future__ import annotations

from abc import ABC, abstractmethod

from . import _ffi
from ._ffi import (
    DeviceAccount,
    KeyOrigin,
    LocalSigner,
    NonceRequest,
    PartialRequest,
    PsbtAnswer,
    PsbtRequest,
    PsbtSigner,
    SignerProblem,
)


class Signer(_ffi.Signer, ABC):
    """Foreign signer: holder of participant keys in another process, or in a device that speaks MuSig2.

    The identity key is not among them: it lives at the node. Called on a thread of the node's own, one call at a time; it may block. ``errors.SignerFailed`` says why it did
    not sign; any other exception becomes a ``SignerFailed`` event too, and the call is repeated.
    """

    @abstractmethod
    def holds(self, key: str, origin: KeyOrigin | None) -> bool:
        """Whether it signs with this participant key.

        The origin is what the proposal says of it, a hint: derive along it below a key that was configured, at most a
        few unhardened steps, and compare. It answers from what it was told when it was made: a device need not be there.
        """

    @abstractmethod
    def make_nonces(self, request: NonceRequest) -> list[bytes]:
        """Makes secret nonces, keeps them, and returns the public ones: 66 bytes for each message of the request."""

    @abstractmethod
    def make_partials(self, request: PartialRequest) -> list[bytes]:
        """Consumes the nonces, and returns partial signatures: 32 bytes for each message of the request."""

    @abstractmethod
    def forget(self, session: str, attempt: int) -> None:
        """Wipes the session's unused nonces of attempts up to and including this one."""


class PsbtDevice(_ffi.PsbtDevice, ABC):
    """Device, or another wallet, that adds what it can to a PSBT (BIP-373): for a ``PsbtSigner``.

    Calls may block until the session expires, and those for different sessions are made at the same time, each on a thread of
    its own. A node that stops waits for them: look at ``request.is_cancelled()`` now and then. Any exception is a failure: the
    device is not asked again before ``PsbtSigner.ask_again``.
    """

    @abstractmethod
    def add_nonces(self, request: PsbtRequest) -> PsbtAnswer:
        """Adds the public nonces of its keys to a PSBT that has none, keeps the secret ones, and gives the PSBT back.

        ``PsbtAnswer.SIGNED(psbt)``; ``PsbtAnswer.UNREACHABLE(reason)`` if nothing was handed over: it is asked again each
        second; ``PsbtAnswer.CANCELLED()``.
        """

    @abstractmethod
    def add_partials(self, request: PsbtRequest) -> PsbtAnswer:
        """Adds the partial signatures of its keys to a PSBT with the public nonces of all, and gives it back."""


__all__ = [
    "DeviceAccount",
    "LocalSigner",
    "NonceRequest",
    "PartialRequest",
    "PsbtAnswer",
    "PsbtDevice",
    "PsbtRequest",
    "PsbtSigner",
    "Signer",
    "SignerProblem",
]
