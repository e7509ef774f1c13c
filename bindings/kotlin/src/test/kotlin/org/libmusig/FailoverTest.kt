package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.Event
import org.libmusig.ffi.Phase
import org.libmusig.ffi.StoreChoice
import java.nio.file.Files

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
        val sessions = sign(nodes, spendRequest(keys(3)))
        for (node in nodes) node.await<Event.SessionComplete>()
        assertEquals(elected, sessions[0].priorityList().map { it.toInt() })
        nodes[elected[0]].stop()

        val backup = nodes[elected[1]]
        val failed = backup.await<Event.CoordinatorFailed>()
        assertEquals(listOf(elected[0].toUInt()), failed.failed)
        assertEquals(listOf(elected[1].toUInt()), failed.next)
        val turn = backup.await<Event.ShouldBroadcast>()
        assertTrue(turn.stored)
        backup.await<Event.BroadcastSeen>()
        val (by, transaction) = chain.submissions.first()
        assertEquals("signer ${elected[1]}", by)
        assertEquals(turn.transaction!!.txid, transaction.txid)
        assertArrayEquals(turn.transaction?.bytes, transaction.bytes)

        chain.confirmations = 2u
        backup.await<Event.BroadcastConfirmed>()
        eventually("the watch ends") { sessions[elected[1]].status().phase == Phase.FINAL }
        sessions.forEach { it.close() }
        closeAll(nodes)
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
