package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.Broadcast
import org.libmusig.ffi.BroadcastBy
import org.libmusig.ffi.Event
import org.libmusig.ffi.FailureCause
import org.libmusig.ffi.MetricKind
import org.libmusig.ffi.MetricsFormat
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Phase
import org.libmusig.ffi.StoreChoice
import java.nio.file.Files
import java.time.Duration
import java.util.concurrent.atomic.AtomicInteger

class FailoverTest {
    @Test
    fun `a backup broadcasts for a dead coordinator`() = runBlocking {
        val chain = Chain()
        val elected = signerKeysByRank(3)
        // The elected one has no way to the network and stops as soon as it could be asked to find one.
        val nodes = List(3) { index ->
            val way = if (index == elected[0]) null else chain.of("signer $index")
            MusigNode.start(config(withoutObserver = false, finalDepth = 2u), signer(index), way, chain)
        }
        connect(nodes)
        val sessions = sign(nodes, spendRequest(keys(3), turn = Duration.ofMinutes(5)))
        for (node in nodes) node.await<Event.SessionComplete>()
        assertEquals(elected, sessions[0].priorityList().map { it.toInt() })
        nodes[elected[0]].stop()

        val backup = nodes[elected[1]]
        val failed = backup.await<Event.CoordinatorFailed>()
        assertEquals(listOf(elected[0].toUInt()), failed.failed)
        assertEquals(listOf(FailureCause.GONE), failed.causes)
        assertEquals(listOf(elected[1].toUInt()), failed.next)
        val waits = sessions[elected[1]].status().failover!!.signers
        assertEquals(elected.map { it.toUInt() }, waits.map { it.signer })
        assertEquals(FailureCause.GONE, waits[0].cause)
        assertTrue(!waits[0].connected && waits[0].wait < waits[1].wait && waits[0].opensAt == null)
        val turn = backup.await<Event.ShouldBroadcast>()
        assertTrue(turn.stored)
        val seen = backup.await<Event.BroadcastSeen>()
        assertEquals(listOf(elected[1].toUInt()) to BroadcastBy.Own, seen.coordinators to seen.by)
        val (by, transaction) = chain.submissions.first()
        assertEquals("signer ${elected[1]}", by)
        assertEquals(turn.transaction!!.txid, transaction.txid)
        assertArrayEquals(turn.transaction?.bytes, transaction.bytes)

        chain.confirmations = 2u
        val confirmed = backup.await<Event.BroadcastConfirmed>()
        assertEquals(listOf(elected[1].toUInt()) to BroadcastBy.Own, confirmed.coordinators to confirmed.by)
        val told = nodes[elected[2]].await<Event.BroadcastConfirmed>()
        assertEquals(BroadcastBy.Claimed(elected[1].toUInt()), told.by)
        eventually("the watch ends") { sessions[elected[1]].status().phase == Phase.FINAL }
        sessions.forEach { it.close() }
        closeAll(nodes)
    }

    @Test
    fun `signing_alone ends with the signatures`() = runBlocking {
        val nodes = List(2) { MusigNode.start(config(), signer(it)) }
        connect(nodes)
        val sessions = sign(nodes, messageRequest(keys(2)).signOnly())
        for ((node, session) in nodes.zip(sessions)) {
            node.await<Event.SessionComplete>()
            assertEquals(Phase.FINAL, session.status().phase)
            assertNull(session.status().failover)
            assertEquals(Broadcast.SignOnly, session.proposal().broadcast)
            assertThrows(MusigException.WrongState::class.java) { runBlocking { session.broadcastNow() } }
            // A session after it, of which the events come after all of the first one's.
            node.createSession(messageRequest(listOf(node.signerKey())).coordinatorOnly()).use { other ->
                val asked = node.await { it.event is Event.ShouldBroadcast }
                assertEquals(other.id(), asked.session)
                assertEquals(Broadcast.CoordinatorOnly, other.proposal().broadcast)
            }
        }
        sessions.forEach { it.close() }
        closeAll(nodes)
    }

    @Test
    fun `metrics_match a scripted failover`() = runBlocking {
        val chain = Chain()
        val (first, second) = signerKeysByRank(2)
        val calls = AtomicInteger()
        val cut = broadcaster {
            calls.incrementAndGet()
            throw IllegalStateException("the cable is out")
        }
        val nodes = List(2) { index ->
            val way = if (index == first) cut else chain.of("second")
            MusigNode.start(config(withoutObserver = false, finalDepth = 1u), signer(index), way, chain)
        }
        connect(nodes)
        assertEquals(emptyMap<String, ULong>(), nodes[0].counted())
        // The first cannot broadcast, and says so: the second does, an hour early.
        // In a block as soon as it is submitted: with such a timeout the chain is looked at every 30 seconds.
        chain.confirmations = 1u
        val sessions = sign(nodes, spendRequest(keys(2), turn = Duration.ofHours(1)))
        for (node in nodes) node.await<Event.BroadcastSeen>()
        for (session in sessions) eventually("the watch ends") { session.status().phase == Phase.FINAL }

        val names = keys(2).map { it.take(8) }
        for ((index, node) in nodes.withIndex()) {
            val script = mapOf(
                "musig_sessions_proposed_total,${if (index == 0) "proposer" else "signer"}" to 1uL,
                "musig_sessions_completed_total" to 1uL,
                "musig_sessions_ended_total,confirmed" to 1uL,
                "musig_failover_sessions_total" to 1uL,
                "musig_failover_turns_total,nack" to 1uL,
                "musig_failover_own_turns_total" to if (index == second) 1uL else 0uL,
                "musig_broadcasts_total,${names[second]}" to 1uL,
                "musig_submissions_total,unreachable" to if (index == first) calls.get().toULong() else 0uL,
                "musig_submissions_total,accepted" to if (index == second) chain.submissions.size.toULong() else 0uL,
            ).filterValues { it > 0uL }
            runCatching { eventually("all claims are there") { node.counted() == script } }
            assertEquals(script, node.counted())
        }
        val signing = nodes[0].metricSamples().single { it.name == "musig_signing_seconds" }
        assertEquals(MetricKind.HISTOGRAM, signing.kind)
        assertEquals(listOf(1uL, 1uL), listOf(signing.value, signing.buckets.last().count))
        assertTrue("\nmusig_sessions_completed_total 1\n" in nodes[1].metricsText(MetricsFormat.PROMETHEUS))
        assertTrue(nodes[1].metricsText(MetricsFormat.OPEN_METRICS).endsWith("# EOF\n"))
        sessions.forEach { it.close() }
        closeAll(nodes)
    }

    /** The counters of the protocol that are not zero, by name and the label's value. */
    private suspend fun MusigNode.counted(): Map<String, ULong> {
        val protocol = Regex("musig_(session|failover|broadcasts|coordinator|submissions).*_total")
        return metricSamples().filter { protocol.matches(it.name) && it.value > 0uL }
            .associate { (listOf(it.name) + it.labels.values).joinToString(",") to it.value }
    }

    @Test
    fun `after a restart the session goes on and durable events come again`() = runBlocking {
        val directory = Files.createTempDirectory("musig")
        val store = StoreChoice.File(directory.resolve("node.redb").toString())
        val peer = MusigNode.start(config(), signer(1))
        var node = MusigNode.start(config(store), signer(0))
        val id = peer.createSession(messageRequest(keys(2))).use { it.id() }
        connect(listOf(node, peer))
        val proposed = node.awaitUnacknowledged<Event.SessionProposed>()
        assertTrue(proposed.durable)
        node.close()

        // Neither joined nor acknowledged: it comes again, under the terms that it had.
        node = MusigNode.start(config(store), signer(0))
        val again = node.awaitUnacknowledged<Event.SessionProposed>()
        assertEquals(id, again.session)
        assertEquals((proposed.event as Event.SessionProposed).proposal.metadata.toList(), again.terms().metadata.toList())
        assertTrue(again.ack())
        assertFalse(again.ack())
        node.session(id).use { it.join() }
        node.close()

        // Joined before, so that it signs as soon as they meet.
        node = MusigNode.start(config(store), signer(0))
        connect(listOf(node, peer))
        val complete = node.awaitUnacknowledged<Event.SessionComplete>()
        peer.await<Event.SessionComplete>()
        node.close()

        // Signed before; the acknowledged event is gone, the other one is not.
        node = MusigNode.start(config(store), signer(0))
        val first = node.awaitUnacknowledged<Event>()
        assertTrue(first.event !is Event.SessionProposed, first.toString())
        val kept = if (first.event is Event.SessionComplete) first else node.awaitUnacknowledged<Event.SessionComplete>()
        assertArrayEquals(
            (complete.event as Event.SessionComplete).signatures.single(),
            (kept.event as Event.SessionComplete).signatures.single(),
        )
        // Without a restart, too, if one asks.
        node.redeliver()
        node.awaitUnacknowledged<Event.SessionComplete>()
        node.session(id).use { assertEquals(1, it.finalSignatures()!!.size) }
        closeAll(listOf(node, peer))
        directory.toFile().deleteRecursively()
        Unit
    }

    private fun ReceivedEvent.terms() = (event as Event.SessionProposed).proposal
}
