"""Events of a node: the classes of ``NodeEvent.data``, for ``match`` and ``isinstance``.

Each has its fields as attributes. Durable events are delivered again after a restart until they are acknowledged.
"""

from __future__ import annotations

import inspect
from typing import Union

from ._ffi import Event as _Event

SessionProposed = _Event.SESSION_PROPOSED
SessionCreated = _Event.SESSION_CREATED
SessionJoined = _Event.SESSION_JOINED
SessionReady = _Event.SESSION_READY
NoncesComplete = _Event.NONCES_COMPLETE
SessionComplete = _Event.SESSION_COMPLETE
ShouldBroadcast = _Event.SHOULD_BROADCAST
CoordinatorFailed = _Event.COORDINATOR_FAILED
FailoverExhausted = _Event.FAILOVER_EXHAUSTED
NobodyCanBroadcast = _Event.NOBODY_CAN_BROADCAST
BroadcastClaimed = _Event.BROADCAST_CLAIMED
BroadcastSeen = _Event.BROADCAST_SEEN
BroadcastConfirmed = _Event.BROADCAST_CONFIRMED
BroadcastConflict = _Event.BROADCAST_CONFLICT
BroadcastLost = _Event.BROADCAST_LOST
BroadcastRejected = _Event.BROADCAST_REJECTED
SessionStalled = _Event.SESSION_STALLED
SessionFailed = _Event.SESSION_FAILED
SessionAborted = _Event.SESSION_ABORTED
SessionExpired = _Event.SESSION_EXPIRED
SessionClosed = _Event.SESSION_CLOSED
KeyInUseElsewhere = _Event.KEY_IN_USE_ELSEWHERE
SignerFailed = _Event.SIGNER_FAILED
SignerWaiting = _Event.SIGNER_WAITING
Submitted = _Event.SUBMITTED
BroadcasterFailed = _Event.BROADCASTER_FAILED
ObserverFailed = _Event.OBSERVER_FAILED
PeerConnected = _Event.PEER_CONNECTED
PeerDisconnected = _Event.PEER_DISCONNECTED
ParticipantDisconnected = _Event.PARTICIPANT_DISCONNECTED
StoreFailed = _Event.STORE_FAILED
NetworkDegraded = _Event.NETWORK_DEGRADED
PeerUnreachable = _Event.PEER_UNREACHABLE
ProposalRefused = _Event.PROPOSAL_REFUSED
ClockSkew = _Event.CLOCK_SKEW

EventData = Union[
    SessionProposed,
    SessionCreated,
    SessionJoined,
    SessionReady,
    NoncesComplete,
    SessionComplete,
    ShouldBroadcast,
    CoordinatorFailed,
    FailoverExhausted,
    NobodyCanBroadcast,
    BroadcastClaimed,
    BroadcastSeen,
    BroadcastConfirmed,
    BroadcastConflict,
    BroadcastLost,
    BroadcastRejected,
    SessionStalled,
    SessionFailed,
    SessionAborted,
    SessionExpired,
    SessionClosed,
    KeyInUseElsewhere,
    SignerFailed,
    SignerWaiting,
    Submitted,
    BroadcasterFailed,
    ObserverFailed,
    PeerConnected,
    PeerDisconnected,
    ParticipantDisconnected,
    StoreFailed,
    NetworkDegraded,
    PeerUnreachable,
    ProposalRefused,
    ClockSkew,
]
"""Any event."""

__all__ = [name for name in list(globals()) if name[0].isupper() and name != "Union"]



def _present() -> None:
    """The classes are nested ones of what is generated, with its names. Here they have those under which they are used, and
    say in their documentation which fields they have."""
    for name in __all__:
        event = globals()[name]
        if isinstance(event, type):
            plain = event.__mro__[1]
            fields = ", ".join(list(inspect.signature(plain).parameters)) or "none"
            event.__name__ = event.__qualname__ = name
            event.__module__ = __name__
            event.__doc__ = f"{' '.join((plain.__doc__ or '').split())}\n\nFields: {fields}."


_present()
