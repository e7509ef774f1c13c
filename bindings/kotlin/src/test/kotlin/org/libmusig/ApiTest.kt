package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.ElectionMethod
import org.libmusig.ffi.Event
import org.libmusig.ffi.KeyOrder
import org.libmusig.ffi.KeySet
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.LogLevel
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Network
import org.libmusig.ffi.Participant
import org.libmusig.ffi.Phase
import org.libmusig.ffi.ProposalProblem
import org.libmusig.ffi.SignerProblem
import org.libmusig.ffi.StoreChoice
import org.libmusig.ffi.StoreProblem
import org.libmusig.ffi.address
import org.libmusig.ffi.aggregateKey
import org.libmusig.ffi.decodeProposal
import org.libmusig.ffi.elect
import org.libmusig.ffi.finalKey
import org.libmusig.ffi.keySet
import org.libmusig.ffi.libraryVersion
import org.libmusig.ffi.sortKeys
import org.libmusig.ffi.syntheticXpub
import org.libmusig.ffi.verifyElection
import org.libmusig.ffi.verifyProof
import java.nio.file.Files
import java.util.concurrent.CopyOnWriteArrayList

class ApiTest {
    @Test
    fun `a local signer is locked and unlocked`() = runBlocking {
        val held = signer(0)
        held.lock()
        assertTrue(held.isLocked())
        val node = MusigNode.start(config(offline = true), held)
        val locked = thrown<MusigException.SignerFailed> { node.createSession(messageRequest(keys(1))) }
        assertEquals(SignerProblem.Locked, locked.problem)
        closeAll(listOf(node))
        val wrong = assertThrows(MusigException.SignerFailed::class.java) { held.unlock(secret(1)) }
        assertEquals(SignerProblem.WrongSecret(held.publicKey()), wrong.problem)
        held.unlock(secret(0))
        assertFalse(held.isLocked())
        held.forget("00".repeat(32), 0u)
        val short = assertThrows(MusigException.SignerFailed::class.java) { LocalSigner(ByteArray(31)) }
        assertEquals(SignerProblem.InvalidSecret, short.problem)
        LocalSigner.generate().use { one ->
            LocalSigner.generate().use { other -> assertTrue(one.publicKey() != other.publicKey()) }
        }
        held.close()
    }

    @Test
    fun `every function that takes an identifier throws on text that is none`() = runBlocking {
        val node = MusigNode.start(config(offline = true), signer(0))
        val good = keys(2)
        val session = node.createSession(messageRequest(good))
        val election = elect(good, ElectionMethod.FIRST_SIGNER)
        val signer = signer(0)
        suspend fun refuses(name: String, expected: String, call: suspend () -> Unit) {
            val error = try {
                call()
                null
            } catch (failure: Exception) {
                failure
            }
            assertTrue(error is MusigException.InvalidArgument, "$name: $error")
            assertEquals(expected, (error as MusigException.InvalidArgument).what, name)
            assertTrue(error.reason.isNotEmpty(), name)
        }
        for (bad in listOf("", "zz", "02", good[0] + "00", "é")) {
            val signers = listOf(good[0], bad)
            refuses("aggregateKey", "signer key") { aggregateKey(signers, KeyOrder.SORTED) }
            refuses("sortKeys", "signer key") { sortKeys(signers) }
            refuses("syntheticXpub", "signer key") { syntheticXpub(bad) }
            refuses("keySet", "signer key") { keySet(signers) }
            val strange = KeySet(signers.map { Participant(it) })
            refuses("finalKey", "signer key") { finalKey(strange, keyPath()) }
            refuses("address", "signer key") { address(strange, keyPath(), Network.REGTEST) }
            refuses("LocalSigner.holds", "signer key") { signer.holds(bad) }
            refuses("elect", "signer key") { elect(signers, ElectionMethod.FIRST_SIGNER) }
            refuses("elect", "session id") { elect(good, ElectionMethod.SESSION_SALTED, bad) }
            refuses("verifyElection", "signer key") { verifyElection(election, signers) }
            refuses("verifyElection", "session id") { verifyElection(election, good, bad) }
            refuses("LocalSigner.forget", "session id") { signer.forget(bad, 0u) }
            refuses("Node.session", "session id") { node.session(bad) }
            refuses("Node.createSession", "signer key") { node.createSession(messageRequest(signers)) }
            refuses("Node.createSession", "session id") {
                node.createSession(messageRequest(good).copy(replaces = bad))
            }
            refuses("Session.notifyBroadcastComplete", "transaction id") { session.notifyBroadcastComplete(bad) }
        }
        assertEquals(listOf(session.id()), node.sessions().map { it.session })
        signer.close()
        session.close()
        closeAll(listOf(node))
    }

    @Test
    fun `sessions travel as bytes`() = runBlocking {
        val nodes = List(2) { MusigNode.start(config(offline = true), signer(it)) }
        val (one, two) = nodes
        val mine = one.createSession(messageRequest(keys(2)))
        val theirs = two.importSessions(mine.exportSession()).single()
        assertEquals(mine.id(), theirs.id())
        two.await<Event.SessionProposed>()
        theirs.join()
        eventually("both signed") {
            one.importSessions(theirs.exportSession()).forEach { it.close() }
            two.importSessions(mine.exportSession()).forEach { it.close() }
            mine.finalSignatures() != null && theirs.finalSignatures() != null
        }
        val proposal = mine.proposal()
        assertEquals(mine.id(), proposal.session)
        assertEquals(proposal.session, decodeProposal(proposal.encoded).session)
        assertEquals(mine.id(), one.sessions().single().session)
        mine.close()
        theirs.close()
        closeAll(nodes)
    }

    @Test
    fun `the rest of a session`() = runBlocking {
        val chain = Chain()
        val node = MusigNode.start(config(withoutObserver = false), signer(0), chain.of("it"), chain)
        val session = node.createSession(spendRequest(keys(1)))
        node.await<Event.BroadcastSeen>()
        assertEquals(session.finalTransaction()!!.txid, chain.submissions.first().second.txid)
        assertEquals(0u, session.election().coordinator)
        assertEquals(listOf(0u), session.priorityList())
        assertTrue(session.isCoordinator())
        assertTrue(session.isCurrentCoordinator())
        session.coordinatorPeerId()
        session.broadcastNow()
        eventually("it was submitted again") { chain.submissions.size >= 2 }
        session.reportBroadcastFailed("no network")
        session.notifyBroadcastComplete()
        // Close while watching: what it would give up is said, and another call gives it up.
        val refused = thrown<MusigException.NotSettled> { session.closeSession() }
        assertTrue(refused.session == session.id() && refused.complete && "abandon_session()" in refused.reason)
        assertEquals(Phase.WATCHING, session.status().phase)
        session.abandonSession()
        session.closeSession()
        assertEquals(Phase.CLOSED, session.status().phase)
        assertTrue(!session.isCurrentCoordinator())
        session.close()

        val declined = node.createSession(messageRequest(keys(2)))
        thrown<MusigException.WrongState> { declined.decline("it is my own") }
        declined.abort("not needed")
        assertEquals(Phase.ABORTED, declined.status().phase)
        declined.close()
        val unknown = node.session("00".repeat(32))
        assertEquals("00".repeat(32), thrown<MusigException.UnknownSession> { unknown.status() }.session)
        unknown.close()
        closeAll(listOf(node))
    }

    @Test
    fun `a signer declines`() = runBlocking {
        val nodes = List(2) { MusigNode.start(config(), signer(it)) }
        connect(nodes)
        nodes[0].createSession(messageRequest(keys(2))).close()
        val id = nodes[1].await { it.event is Event.SessionProposed }.session!!
        nodes[1].session(id).use { it.decline("not this one") }
        val aborted = nodes[0].await<Event.SessionAborted>()
        assertEquals("not this one" to 1u, aborted.reason to aborted.by)
        assertTrue(aborted.declined)
        closeAll(nodes)
    }

    @Test
    fun `accepted proposers`() = runBlocking {
        val nodes = List(2) { MusigNode.start(config(), signer(it)) }
        connect(nodes)
        nodes[1].setAcceptedProposers(listOf(nodes[1].signerKey()))
        nodes[0].createSession(messageRequest(keys(2))).close()
        eventually("it is refused") { nodes[1].metrics().refused > 0uL }
        assertEquals(0uL, nodes[1].metrics().sessions)
        nodes[1].setAcceptedProposers(null)
        val nobody = nodes[1].reputation(nodes[0].signerKey())
        assertEquals(Triple(0.0, 0.0, 0.8), Triple(nobody.successes, nobody.failures, nobody.reliability))
        nodes[1].forgetSigner(nodes[0].signerKey())
        thrown<MusigException.InvalidArgument> { nodes[1].reputation("00") }
        nodes[1].await { it.event is Event.SessionProposed }
        thrown<MusigException.InvalidArgument> { nodes[1].setAcceptedProposers(listOf("00")) }
        closeAll(nodes)
    }

    @Test
    fun `suspend and resume and network_changed`() = runBlocking {
        val directory = Files.createTempDirectory("musig")
        val store = StoreChoice.File(directory.resolve("node.redb").toString())
        val node = MusigNode.start(config(store, offline = true), signer(0))
        val other = thrown<MusigException.StoreFailed> { MusigNode.start(config(store, offline = true), signer(0)) }
        assertTrue(other.problem is StoreProblem.InUse, other.problem.toString())
        assertTrue(other.isRetryable)
        node.networkChanged()
        node.suspend()
        thrown<MusigException.Suspended> { node.networkChanged() }
        thrown<MusigException.Suspended> { node.createSession(messageRequest(keys(1))) }
        // The lock is released.
        MusigNode.start(config(store, offline = true), signer(0)).close()
        val stranger = thrown<MusigException.StoreFailed> { MusigNode.start(config(store, offline = true), signer(1)) }
        val storeOfAnotherKey = stranger.problem as StoreProblem.OtherKey
        assertEquals(keys(2), listOf(storeOfAnotherKey.owner, storeOfAnotherKey.signer))
        assertTrue(!stranger.isRetryable)
        node.resume()
        node.announce()
        node.createSession(messageRequest(keys(1))).close()
        node.await<Event.SessionComplete>()
        assertTrue(node.metrics().storeCommits > 0uL)
        assertTrue(node.peerId().isNotEmpty())
        assertEquals(keys(1).single(), node.signerKey())
        node.requestStop()
        closeAll(listOf(node))
        directory.toFile().deleteRecursively()
        Unit
    }

    @Test
    fun `refusals say what is wrong`() = runBlocking {
        assertEquals("0.1.0", libraryVersion())
        assertThrows(MusigException::class.java) { verifyProof(ByteArray(9)) }
        val node = MusigNode.start(config(offline = true), signer(0))
        val twice = thrown<MusigException.ProposalRefused> {
            node.createSession(messageRequest(keys(2) + keys(1)))
        }
        assertEquals(ProposalProblem.DuplicateKey(0u, 2u), twice.problem)
        assertEquals(twice.reason, twice.message)
        val stranger = thrown<MusigException.ProposalRefused> { node.createSession(messageRequest(keys(3).drop(1))) }
        assertEquals(ProposalProblem.NotASigner, stranger.problem)
        thrown<MusigException.InputRefused> { node.importSessions(ByteArray(5)) }
        thrown<MusigException> { node.addPeer("nowhere") }
        thrown<MusigException.InvalidConfig> { MusigNode.start(config(withoutObserver = false), signer(0)) }
        closeAll(listOf(node))
        thrown<IllegalStateException> { node.metrics() }
        assertFalse(node.eventHandled(1uL))
        node.stop()
        node.requestStop()
    }

    @Test
    fun `the log arrives, and a sink that throws harms nobody`() = runBlocking {
        val lines = CopyOnWriteArrayList<String>()
        val sessions = CopyOnWriteArrayList<List<Any?>>()
        val sink = logSink {
            lines += "${it.level} ${it.target} ${it.text}"
            if (it.target == "libmusig::session") sessions += listOf(it.session, it.time.epochSecond > 1_700_000_000, it.dropped)
            throw IllegalStateException("no disk")
        }
        // It takes one session, so that a second proposal is refused, which a developer wants to know.
        val narrow = config().copy(logLevel = LogLevel.TRACE, maxSessions = 1u)
        val nodes = listOf(MusigNode.start(narrow, signer(0), logSink = sink), MusigNode.start(config(), signer(1)))
        connect(nodes)
        val proposed = List(2) { nodes[1].createSession(messageRequest(keys(2), it)).use { session -> session.id() } }
        eventually("a proposal is logged, with its session and time") {
            proposed.any { listOf(it, true, 0uL) in sessions }
        }
        assertTrue(lines.none { it.startsWith("WARN libp2p") || it.startsWith("INFO libp2p") }, "$lines")
        nodes[0].metrics()
        closeAll(nodes)
    }
}
