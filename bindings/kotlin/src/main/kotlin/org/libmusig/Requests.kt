package org.libmusig

import org.libmusig.ffi.Broadcast
import org.libmusig.ffi.SessionRequest

/** The same request for a session that only signs: nobody is asked to broadcast, and SessionComplete is the end. */
public fun SessionRequest.signOnly(): SessionRequest = copy(broadcast = Broadcast.SignOnly)

/**
 * The same request for a session whose coordinator alone is to broadcast: nobody takes over. After five minutes each node
 * raises the alarm, FailoverExhausted.
 */
public fun SessionRequest.coordinatorOnly(): SessionRequest = copy(broadcast = Broadcast.CoordinatorOnly)
