package org.libmusig

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.ExperimentalForInheritanceCoroutinesApi
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.runBlocking
import org.libmusig.ffi.Broadcaster
import org.libmusig.ffi.ChainObserver
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.LogSink
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Node
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.NodeInterface
import org.libmusig.ffi.PsbtSigner
import org.libmusig.ffi.Signer

/**
 * Running node: one signer's sessions, its peers, its store and its Bitcoin backend.
 *
 * Calls that change state go on when the coroutine that waits for them is cancelled; queries have no effect either way.
 * Everything here may be called from any thread, and from foreign objects of this node too, but for [close] and [stop].
 */
public class MusigNode private constructor(private val node: Node) : NodeInterface by node, AutoCloseable {
    /**
     * All events from now on. The flow never acknowledges: its body calls [ReceivedEvent.ack] once it has acted.
     *
     * It is cold, and a node has one consumer at a time: a second one fails with
     * [MusigException.ConsumerExists]. It ends when the node stops. Cancelling it loses nothing: an event is taken only
     * when the body is about to get it. Operators that buffer (`buffer`, `shareIn`) take events ahead of their body;
     * durable ones among those come again after a restart or [redeliver].
     */
    @OptIn(ExperimentalForInheritanceCoroutinesApi::class)
    public fun events(): Flow<ReceivedEvent> = object : Flow<ReceivedEvent> {
        // Not made by `flow { }`, whose `emit` fails when the collector was cancelled since the event was taken.
        override suspend fun collect(collector: FlowCollector<ReceivedEvent>) {
            while (true) collector.emit(next() ?: return)
        }
    }

    /**
     * Calls [handler] for one event after the other until the node stops. An event is acknowledged when the handler
     * returns. If it throws, the event is kept: a durable one is delivered again after a restart or [redeliver].
     *
     * Exceptions of the handler go to [onFailure], and the next event follows; without it, they end this call. Handlers
     * should be idempotent.
     */
    public suspend fun handleEvents(
        onFailure: ((ReceivedEvent, Exception) -> Unit)? = null,
        handler: suspend (ReceivedEvent) -> Unit,
    ) {
        while (true) {
            val received = next() ?: return
            try {
                handler(received)
            } catch (cancelled: CancellationException) {
                throw cancelled
            } catch (failure: Exception) {
                (onFailure ?: throw failure)(received, failure)
                continue
            }
            received.ack()
        }
    }

    /** The next event, or null once the node stopped. */
    private suspend fun next(): ReceivedEvent? {
        try {
            while (true) {
                // Somebody else may be quicker.
                node.takeEvent()?.let { return ReceivedEvent(this, it) }
                node.waitForEvent()
            }
        } catch (_: MusigException.NodeStopped) {
            return null
        } catch (failure: IllegalStateException) {
            // What a closed object says.
            if (node.uniffiIsDestroyed) return null
            throw failure
        }
    }

    /** As [NodeInterface.eventHandled]; false once the node is closed. */
    override fun eventHandled(id: ULong): Boolean = !node.uniffiIsDestroyed && node.eventHandled(id)

    /** As [NodeInterface.requestStop]; nothing happens once the node is closed. */
    override fun requestStop() {
        if (!node.uniffiIsDestroyed) node.requestStop()
    }

    /** As [NodeInterface.stop]; nothing happens once the node is closed. */
    override suspend fun stop() {
        if (!node.uniffiIsDestroyed) node.stop()
    }

    /**
     * Stops the node, waits until the store is closed, and frees it; blocks for as long. A coroutine calls [stop]
     * first, so that this does not wait. Never inside a foreign object of this node: call [requestStop] there.
     */
    override fun close() {
        if (node.uniffiIsDestroyed) return
        runBlocking { node.stop() }
        node.close()
    }

    public companion object {
        /**
         * Opens the store, resumes its sessions, and starts the node. If the coroutine is cancelled, the node is
         * stopped.
         * Foreign objects are called on threads of their own, one call at a time; they may block, and throw.
         *
         * The signer holds the identity key. Of the participant keys it is asked first; the foreign signer holds others,
         * as in a device, and with it the identity key signs no session. A PSBT signer takes its place.
         */
        public suspend fun start(
            config: NodeConfig,
            signer: LocalSigner,
            broadcaster: Broadcaster? = null,
            observer: ChainObserver? = null,
            logSink: LogSink? = null,
            foreignSigner: Signer? = null,
            psbtSigner: PsbtSigner? = null,
        ): MusigNode = MusigNode(
            Node.start(
                config,
                signer,
                foreignSigner,
                broadcaster,
                observer,
                logSink,
                psbtSigner,
            ),
        )
    }
}
