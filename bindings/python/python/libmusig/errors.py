"""Exceptions. All are ``MusigError``; ``reason`` (and ``str``) is for people, the other attributes are for programs."""

from ._ffi import MusigError


def _text(error: MusigError) -> str:
    reason: str = error.reason
    return reason


MusigError.__str__ = _text

InvalidArgument = MusigError.InvalidArgument
ProposalRefused = MusigError.ProposalRefused
InputRefused = MusigError.InputRefused
ConsentRefused = MusigError.ConsentRefused
SignerFailed = MusigError.SignerFailed
StoreFailed = MusigError.StoreFailed
NoSigners = MusigError.NoSigners
IndexOutOfRange = MusigError.IndexOutOfRange
UnknownSession = MusigError.UnknownSession
SessionExists = MusigError.SessionExists
WrongState = MusigError.WrongState
NotSettled = MusigError.NotSettled
LimitReached = MusigError.LimitReached
InvalidConfig = MusigError.InvalidConfig
NetworkFailed = MusigError.NetworkFailed
NodeStopped = MusigError.NodeStopped
Suspended = MusigError.Suspended
ConsumerExists = MusigError.ConsumerExists
WouldDeadlock = MusigError.WouldDeadlock
Forked = MusigError.Forked
Internal = MusigError.Internal
ChainUnreachable = MusigError.ChainUnreachable
CallbackFailed = MusigError.CallbackFailed

__all__ = [name for name, value in list(globals().items()) if isinstance(value, type)]
