package org.libmusig

import org.libmusig.ffi.Event
import org.libmusig.ffi.NodeEvent

/** Event that a node delivered, with its acknowledgement. */
public class ReceivedEvent internal constructor(private val node: MusigNode, private val received: NodeEvent) {
    /** The event's number within this process. */
    public val id: ULong get() = received.id

    /** The session's id; null for events of the network. */
    public val session: String? get() = received.session

    /** The event itself. */
    public val event: Event get() = received.event

    /** Whether the event is delivered again, after a restart or [MusigNode.redeliver], until it is acknowledged. */
    public val durable: Boolean get() = received.durable

    /** Acknowledges the event. False if it is not durable, or was acknowledged before, or the node is closed. */
    public fun ack(): Boolean = node.eventHandled(received.id)

    override fun toString(): String = received.toString()
}
