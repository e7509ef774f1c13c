package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.DhtMode
import org.libmusig.ffi.Event
import org.libmusig.ffi.InputKind
import org.libmusig.ffi.JoinOptions
import org.libmusig.ffi.KeyOrder
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Network
import org.libmusig.ffi.Phase
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SummaryOptions
import org.libmusig.ffi.SummaryWarning
import org.libmusig.ffi.TransactionLock
import org.libmusig.ffi.aggregateKey

class SigningTest {
    @Test
    fun threeOfThree() = runBlocking {
        val nodes = List(3) { MusigNode.start(config(), signer(it)) }
        connect(nodes)
        val sessions = sign(nodes, messageRequest(keys(3)))
        val complete = nodes.map { it.await<Event.SessionComplete>() }
        assertTrue(complete.all { it.stored })
        val signatures = complete.map { it.signatures.single() }
        val key = aggregateKey(keys(3), KeyOrder.SORTED).drop(2).bytes
        for ((session, signature) in sessions.zip(signatures)) {
            assertTrue(Schnorr.verifies(key, ByteArray(32) { 7 }, signature))
            assertFalse(Schnorr.verifies(key, ByteArray(32) { 8 }, signature))
            assertArrayEquals(signature, session.finalSignatures()!!.single())
            assertEquals(Phase.WATCHING, session.status().phase)
        }
        sessions.forEach { it.close() }
        closeAll(nodes)
    }

    @Test
    fun `summary shows what is signed and escapes hostile_text`() = runBlocking {
        val node = MusigNode.start(config(offline = true), signer(0))
        val content = Spend(keys(1)).content as SessionContent.Transaction
        val own = content.spent.single().script
        val request = spendRequest(keys(1)).copy(metadata = "\u001b[2Jrent\u202e".toByteArray())
        node.createSession(request).use { session ->
            val summary = session.summary(SummaryOptions(Network.REGTEST, listOf(own)))
            assertEquals(session.id(), summary.session)
            assertTrue(summary.text.endsWith("\n> \\u{1b}[2Jrent\\u{202e}\n"), summary.text)
            val shown = summary.transaction!!
            assertEquals(listOf(1_000uL, 2, false), listOf(shown.fee, shown.version, shown.replaceable))
            assertEquals(TransactionLock.AtOnce, shown.lock)
            assertEquals(InputKind.SESSION to true, shown.inputs.single().let { it.kind to it.own })
            assertTrue(shown.outputs.single().own && shown.outputs.single().address!!.startsWith("bcrt1p"))
            assertArrayEquals(own.drop(2).toByteArray(), summary.messages.single().finalKey)
            assertEquals(emptyList<SummaryWarning>(), summary.warnings)
            // A fee bump that pays no more replaces nothing.
            node.createSession(request.copy(replaces = session.id())).use { bump ->
                val lower = SummaryWarning.LowerFeeRate(shown.feeRate, shown.feeRate, session.id())
                assertTrue(lower in bump.summary(SummaryOptions(Network.REGTEST)).warnings)
            }
        }
        val blind = messageRequest(keys(1)).copy(consent = JoinOptions(signBlind = true))
        node.createSession(blind).use { session ->
            val summary = session.summary(SummaryOptions(Network.MAINNET))
            assertEquals(listOf(SummaryWarning.Blind(0u)), summary.warnings)
        }
        closeAll(listOf(node))
    }

    @Test
    fun `signers are found by their keys`() = runBlocking {
        val server = MusigNode.start(config().copy(dht = DhtMode.SERVER), signer(2))
        eventually("it listens") { server.listenAddresses().isNotEmpty() }
        val known = listOf(server.listenAddresses().first())
        val alice = MusigNode.start(config().copy(bootstrapPeers = known), signer(0))
        // Set up as on a phone: it listens nowhere, so it looks for the other.
        val phone = config().copy(listen = emptyList(), mobile = true, bootstrapPeers = known)
        val bob = MusigNode.start(phone, signer(1))
        val proposed = bob.createSession(messageRequest(keys(2)))
        val joined = alice.joinNext()
        assertFalse(alice.await<Event.SessionComplete>().abortedHere)
        bob.await<Event.SessionComplete>()
        proposed.close()
        joined.close()
        closeAll(listOf(bob, alice, server))
    }

    @Test
    fun `a server is named with its peer id`() = runBlocking {
        val nameless = listOf("/ip4/127.0.0.1/tcp/1")
        for (wrong in listOf(config().copy(bootstrapPeers = nameless), config().copy(relays = nameless))) {
            val failure = assertThrows(MusigException::class.java) { runBlocking { MusigNode.start(wrong, signer(0)) } }
            assertTrue("/p2p/" in failure.toString(), failure.toString())
        }
        closeAll(listOf(MusigNode.start(config().copy(dht = DhtMode.OFF, mdns = false), signer(0))))
    }
}
