"""Exceptions. All are ``MusigError``; ``reason`` (and ``str``) is for people, the other attributes are for programs."""

from ._ffi import MusigError, error_is_retryable


def _text(error: MusigError) -> str:
    reason: str = error.reason
    return reason


def _is_retryable(error: MusigError) -> bool:
    """Whether the same call may succeed later, though nothing in it changes: what failed is outside of it, or ends."""
    try:
        retryable: bool = error_is_retryable(error)
    except MusigError:
        # An error of the application's own, with an id that is none.
        return False
    return retryable


MusigError.__str__ = _text
MusigError.is_retryable = property(_is_retryable)

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
