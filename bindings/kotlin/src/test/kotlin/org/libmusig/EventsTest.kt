package org.libmusig

import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.Event
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Session
import java.io.IOException
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.time.Duration
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread

class EventsTest {
    private suspend fun offline() = MusigNode.start(config(offline = true), signer(0))

    @Test
    fun `a handler acknowledges by returning and keeps by throwing`() = runBlocking {
        val node = offline()
        node.createSession(messageRequest(keys(1))).close()
        val failures = CopyOnWriteArrayList<String>()
        val handled = CopyOnWriteArrayList<String>()
        val consumer = launch(Dispatchers.Default) {
            node.handleEvents(onFailure = { received, failure -> failures += "${received.session} ${failure.message}" }) {
                if (it.event is Event.SessionComplete && failures.isEmpty()) error("not now")
                handled += it.event.javaClass.simpleName
            }
        }
        eventually("the handler threw") { failures.size == 1 }
        assertFalse("SessionComplete" in handled)
        node.redeliver()
        eventually("it came again") { "SessionComplete" in handled }
        node.redeliver()
        // Another event marks the end of what was delivered again.
        node.createSession(messageRequest(keys(1), 9)).close()
        eventually("another session") { handled.count { it == "SessionComplete" } == 2 }
        node.stop()
        consumer.join()
        node.close()
    }

    /** An address that leads to another one, and takes so many milliseconds for everything that is sent, either way. */
    private fun slowLine(to: String, delay: Long): Pair<ServerSocket, String> {
        val server = ServerSocket(0, 50, InetAddress.getLoopbackAddress())
        fun pump(from: Socket, into: Socket) = thread(isDaemon = true) {
            try {
                val buffer = ByteArray(65536)
                while (true) {
                    val count = from.getInputStream().read(buffer)
                    if (count < 0) break
                    Thread.sleep(delay)
                    into.getOutputStream().write(buffer, 0, count)
                }
                into.close()
            } catch (_: IOException) {
            }
        }
        thread(isDaemon = true) {
            try {
                while (true) {
                    val near = server.accept()
                    val far = Socket(to.split("/")[2], to.split("/")[4].toInt())
                    pump(near, far)
                    pump(far, near)
                }
            } catch (_: IOException) {
            }
        }
        return server to "/ip4/127.0.0.1/tcp/${server.localPort}"
    }

    @Test
    fun `clock_skew is told beyond what is tolerated`() = runBlocking {
        // What takes long on its way looks like a clock that is late: nobody's clock can be set here.
        val other = MusigNode.start(config().copy(hides = false), signer(0))
        eventually("it listens") { other.listenAddresses().isNotEmpty() }
        val (line, through) = slowLine(other.listenAddresses().first(), 100)
        val node = MusigNode.start(
            config().copy(peers = listOf(through), clockSkew = Duration.ofMillis(50)), signer(1),
        )
        for (number in 0 until 3) node.createSession(messageRequest(keys(2), number)).close()
        val received = node.await { it.event is Event.ClockSkew }
        val skew = received.event as Event.ClockSkew
        assertEquals(null to keys(1).first(), received.session to skew.signer)
        assertTrue(skew.offsetMs in -60_000..-100, "${skew.offsetMs}")
        // Of two clocks nobody can say which one is wrong.
        assertFalse(skew.ownSuspect)
        closeAll(listOf(node, other))
        line.close()
    }

    @Test
    fun `unreachable_peer is reported, and a stalled session says what is known of whom`() = runBlocking {
        val config = config().copy(peers = listOf("/ip4/127.0.0.1/tcp/1"), stallAfter = Duration.ofMillis(100))
        val node = MusigNode.start(config, signer(0))
        val unreachable = node.await<Event.PeerUnreachable>()
        assertEquals("/ip4/127.0.0.1/tcp/1" to null, unreachable.address to unreachable.signer)
        assertTrue("refused" in unreachable.cause && unreachable.nextTryAt != null, unreachable.cause)
        node.createSession(messageRequest(keys(2))).use { session ->
            val stalled = node.await<Event.SessionStalled>()
            assertEquals(stalled.missing, stalled.signers.map { it.signer })
            assertEquals(listOf(1u), stalled.missing)
            val (own, other) = session.status().signers
            assertTrue(own.connected && own.consented && own.lastSeen != null)
            assertTrue(!other.connected && !other.consented && other.lastSeen == null)
        }
        closeAll(listOf(node))
    }

    @Test
    fun `first_contact by an address alone shows the signer if it is told to`() = runBlocking {
        val open = MusigNode.start(config().copy(hides = false, maxConnections = 8u, maxConnectionsPerIp = 4u), signer(0))
        eventually("it listens") { open.listenAddresses().isNotEmpty() }
        val other = MusigNode.start(config().copy(peers = open.listenAddresses().take(1)), signer(1))
        assertEquals(keys(1).single(), other.await<Event.PeerConnected>().signer)
        closeAll(listOf(other, open))
    }

    @Test
    fun `through_proxy onion services are dialled, and not without`() = runBlocking {
        val onion = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234"
        val config = config().copy(listen = emptyList(), peers = listOf(onion))
        for (proxy in listOf(null, "http://127.0.0.1:8080")) {
            thrown<MusigException.InvalidConfig> { MusigNode.start(config.copy(proxy = proxy), signer(0)) }
        }
        val proxied = config.copy(proxy = "socks5h://127.0.0.1:1", external = listOf(onion))
        val node = MusigNode.start(proxied, signer(0))
        val unreachable = node.await<Event.PeerUnreachable>()
        assertEquals(onion, unreachable.address)
        assertTrue("the proxy 127.0.0.1:1" in unreachable.cause, unreachable.cause)
        closeAll(listOf(node))
    }

    @Test
    fun `what a handler throws ends handleEvents where nobody takes it`() = runBlocking {
        val node = offline()
        node.createSession(messageRequest(keys(1))).close()
        val failure = thrown<IllegalStateException> { node.handleEvents { error("broken handler") } }
        assertEquals("broken handler", failure.message)
        closeAll(listOf(node))
    }

    @Test
    fun `the handler may call the node, and close it`() = runBlocking {
        val node = offline()
        node.createSession(messageRequest(keys(1))).close()
        withTimeout(PATIENCE) {
            node.handleEvents { received ->
                assertTrue(node.metrics().sessions >= 1uL)
                if (received.event is Event.SessionComplete) {
                    node.session(received.session!!).use { assertEquals(1, it.finalSignatures()!!.size) }
                    node.close()
                }
            }
        }
        node.close()
    }

    @Test
    fun `a flow never acknowledges, and ends with the node`() = runBlocking {
        val node = offline()
        node.createSession(messageRequest(keys(1))).close()
        val first = node.awaitUnacknowledged<Event.SessionComplete>()
        node.redeliver()
        val second = node.awaitUnacknowledged<Event.SessionComplete>()
        assertEquals(first.session, second.session)
        assertTrue(second.ack())
        val rest = launch { node.events().toList() }
        yield()
        node.stop()
        withTimeout(PATIENCE) { rest.join() }
        node.close()
        assertEquals(emptyList<ReceivedEvent>(), node.events().toList())
    }

    @Test
    fun `there is one consumer at a time`() = runBlocking {
        val node = offline()
        val consumer = launch(start = CoroutineStart.UNDISPATCHED) { node.handleEvents { } }
        val refused = thrown<MusigException.ConsumerExists> { node.events().take(1).toList() }
        assertTrue(refused.reason.isNotBlank())
        consumer.cancelAndJoin()
        closeAll(listOf(node))
    }

    @Test
    fun `wake makes a wait return without an event`() = runBlocking {
        val node = offline()
        val waiting = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { node.waitForEvent() }
        node.wake()
        withTimeout(PATIENCE) { waiting.join() }
        assertEquals(null, node.takeEvent())
        closeAll(listOf(node))
    }

    @Test
    fun `cancelling the wait for events loses none`() = runBlocking {
        val node = offline()
        val created = ConcurrentHashMap.newKeySet<String>()
        val completed = mutableSetOf<String>()
        val cancelled = AtomicInteger()
        // On a busy machine the events come in a few bursts: it goes on until enough waits were cancelled.
        val creating = launch(Dispatchers.Default) {
            while (created.size < 60 || cancelled.get() < 4) {
                node.createSession(messageRequest(keys(1), created.size)).use { created += it.id() }
            }
        }
        withTimeout(PATIENCE) {
            var pause = 0L
            while (creating.isActive || completed.size < created.size) {
                pause = (pause + 1) % 4
                withTimeoutOrNull(pause) {
                    node.events().collect {
                        if (it.event is Event.SessionComplete) completed += it.session!!
                    }
                } ?: cancelled.incrementAndGet()
            }
        }
        assertEquals(created.toSet(), completed)
        closeAll(listOf(node))
    }

    @Test
    fun `every waiting call can be cancelled`() = runBlocking {
        val node = offline()
        val session = node.createSession(messageRequest(keys(2)))
        val calls: List<Pair<String, suspend () -> Unit>> = listOf(
            "addPeer" to { node.addPeer("/ip4/127.0.0.1/tcp/1") },
            "announce" to { node.announce() },
            "connectedSigners" to { node.connectedSigners(); Unit },
            "createSession" to { node.createSession(messageRequest(keys(2), 1)).close() },
            "importSessions" to { node.importSessions(session.exportSession()).forEach(Session::close) },
            "listenAddresses" to { node.listenAddresses(); Unit },
            "metrics" to { node.metrics(); Unit },
            "networkChanged" to { node.networkChanged() },
            "redeliver" to { node.redeliver() },
            "reputation" to { node.reputation(keys(2)[1]); Unit },
            "forgetSigner" to { node.forgetSigner(keys(2)[1]) },
            "setAcceptedProposers" to { node.setAcceptedProposers(null) },
            "sessions" to { node.sessions(); Unit },
            "waitForEvent" to { node.waitForEvent() },
            "join" to { session.join() },
            "status" to { session.status(); Unit },
            "proposal" to { session.proposal(); Unit },
            "finalSignatures" to { session.finalSignatures(); Unit },
            "finalTransaction" to { session.finalTransaction(); Unit },
            "election" to { session.election(); Unit },
            "priorityList" to { session.priorityList(); Unit },
            "isCoordinator" to { session.isCoordinator(); Unit },
            "isCurrentCoordinator" to { session.isCurrentCoordinator(); Unit },
            "coordinatorPeerId" to { session.coordinatorPeerId(); Unit },
            "exportSession" to { session.exportSession(); Unit },
            "notifyBroadcastComplete" to { session.notifyBroadcastComplete() },
            "reportBroadcastFailed" to { session.reportBroadcastFailed("no network") },
            "broadcastNow" to { session.broadcastNow() },
            "decline" to { session.decline("no") },
            "abort" to { session.abort("no") },
            "closeSession" to { session.closeSession() },
            "abandonSession" to { session.abandonSession() },
            "suspend" to { node.suspend() },
            "resume" to { node.resume() },
            "start" to { MusigNode.start(config(offline = true), signer(1)).close() },
        )
        for ((name, call) in calls) {
            val waiting = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) {
                try {
                    call()
                } catch (_: MusigException) {
                    // It answered before it was cancelled.
                }
            }
            withTimeout(PATIENCE) { waiting.cancelAndJoin() }
            assertTrue(waiting.isCompleted, name)
        }
        // What changes something went on. A resume that was overtaken by its suspend is given again.
        eventually("it runs") {
            try {
                node.metrics()
                true
            } catch (_: MusigException.Suspended) {
                node.resume()
                false
            }
        }
        eventually("the cancelled proposal exists") { node.sessions().size == 2 }
        session.close()
        val stopping = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { node.stop() }
        stopping.cancelAndJoin()
        thrown<MusigException.NodeStopped> { while (true) node.metrics() }
        node.close()
    }
}
