"""Events of a node: the classes of ``NodeEvent.data``, for ``match`` and ``isinstance``."""

from __future__ import annotations

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
PeerConnected = _Event.PEER_CONNECTED
PeerDisconnected = _Event.PEER_DISCONNECTED
ParticipantDisconnected = _Event.PARTICIPANT_DISCONNECTED
StoreFailed = _Event.STORE_FAILED
NetworkDegraded = _Event.NETWORK_DEGRADED

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
    PeerConnected,
    PeerDisconnected,
    ParticipantDisconnected,
    StoreFailed,
    NetworkDegraded,
]
