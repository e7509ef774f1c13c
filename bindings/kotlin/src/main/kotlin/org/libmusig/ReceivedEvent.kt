package org.libmusig

import org.libmusig.ffi.Event
import org.libmusig.ffi.NodeEvent

/** An event as one consumer got it. */
public class ReceivedEvent internal constructor(private val node: MusigNode, private val received: NodeEvent) {
    /** Names it within this process. */
    public val id: ULong get() = received.id

    /** The session's id; null for events of the network. */
    public val session: String? get() = received.session

    /** What happened. */
    public val event: Event get() = received.event

    /** Whether it comes again, after a restart or [MusigNode.redeliver], until it is acknowledged. */
    public val durable: Boolean get() = received.durable

    /** Acknowledges. False: it is no durable event, or was acknowledged before, or the node is closed. */
    public fun ack(): Boolean = node.eventHandled(received.id)

    override fun toString(): String = received.toString()
}
