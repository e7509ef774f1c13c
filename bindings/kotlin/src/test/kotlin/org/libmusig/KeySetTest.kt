package org.libmusig

import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.Derivation
import org.libmusig.ffi.Event
import org.libmusig.ffi.JoinOptions
import org.libmusig.ffi.KeyDerivation
import org.libmusig.ffi.KeyOrder
import org.libmusig.ffi.KeyOrigin
import org.libmusig.ffi.KeySet
import org.libmusig.ffi.Message
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Network
import org.libmusig.ffi.Participant
import org.libmusig.ffi.ProposalProblem
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.SignerProblem
import org.libmusig.ffi.Taproot
import org.libmusig.ffi.address
import org.libmusig.ffi.aggregateKey
import org.libmusig.ffi.finalKey
import org.libmusig.ffi.keySet
import org.libmusig.ffi.sortKeys
import org.libmusig.ffi.syntheticXpub

class KeySetTest {
    /** The public key of a test signer's secret. */
    private fun key(index: Int): String = signer(index).use { it.publicKey() }

    /** Why a proposal, or a key, is refused. */
    private suspend fun refused(call: suspend () -> Unit): ProposalProblem =
        thrown<MusigException.ProposalRefused> { call() }.problem

    /** The first keys of BIP-328, and what an independent calculation makes of them. */
    @Test
    fun `key sets have the final keys and addresses of the standards`() {
        val keys = listOf(
            "03935f972da013f80ae011890fa89b67a27b7be6ccb24d3274d18b2d4067f261a9",
            "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        )
        val keySet = keySet(keys, KeyOrder.AS_GIVEN)
        val aggregate = "0354240c76b8f2999143301a99c7f721ee57eee0bce401df3afeaa9ae218c70f23"
        assertEquals(aggregate, aggregateKey(keys, KeyOrder.AS_GIVEN))
        assertEquals(aggregate, finalKey(keySet, Derivation()))
        assertEquals(
            "032789ad09c05922f654eebe50677730eec1e930233abd55e4adefda34bab1f04a",
            finalKey(keySet, Derivation(listOf(0u, 1u))),
        )
        assertEquals(
            "038cf7ec6432a93a25a2b650e4d6f00893ea7a57e988a03d35ff68118664176520",
            finalKey(keySet, keyPath(0u, 1u)),
        )
        assertEquals(
            "02123f47544c4f7e0717dabbc139909576712fd4ba1e63135adf83b9f8dac21d94",
            finalKey(keySet, Derivation(listOf(0u, 1u), Taproot.MerkleRoot(ByteArray(32) { 9 }))),
        )
        val addresses = mapOf(
            Network.MAINNET to "bc1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sq4mvd3d",
            Network.TESTNET to "tb1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sqzn6ztz",
            Network.SIGNET to "tb1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sqzn6ztz",
            Network.REGTEST to "bcrt1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sq02sy7c",
        )
        for ((network, expected) in addresses) assertEquals(expected, address(keySet, keyPath(0u, 1u), network))
        // By default sorted.
        assertEquals(keys.sorted(), sortKeys(keys))
        assertEquals(aggregateKey(sortKeys(keys), KeyOrder.AS_GIVEN), finalKey(keySet(keys), Derivation()))
        assertEquals(keySet(keys, KeyOrder.SORTED), keySet(keys))
        assertTrue(syntheticXpub(aggregate).startsWith("xpub"))
    }

    @Test
    fun `key sets that no session signs with have no key`() = runBlocking {
        val twice = listOf(key(0), key(1), key(0))
        val repeated = KeySet(twice.map { Participant(it) })
        assertEquals(ProposalProblem.DuplicateKey(0u, 2u), refused { keySet(twice) })
        assertEquals(ProposalProblem.DuplicateKey(0u, 2u), refused { aggregateKey(twice, KeyOrder.SORTED) })
        assertEquals(ProposalProblem.DuplicateKey(0u, 2u), refused { finalKey(repeated, keyPath()) })
        assertEquals(ProposalProblem.DuplicateKey(0u, 2u), refused { address(repeated, keyPath(), Network.SIGNET) })
        val good = keySet(keys(2))
        val hardened = keyPath(0u, 0x8000_0000u)
        assertEquals(ProposalProblem.HardenedChild(0x8000_0000u), refused { finalKey(good, hardened) })
        assertEquals(ProposalProblem.HardenedChild(0x8000_0000u), refused { address(good, hardened, Network.MAINNET) })
        val deep = refused { finalKey(good, Derivation(List(9) { 0u })) } as ProposalProblem.Limit
        assertEquals(9uL to 8uL, deep.actual to deep.most)
        assertTrue(refused { keySet(emptyList()) } is ProposalProblem.Limit)
        val short = thrown<MusigException.InvalidArgument> {
            finalKey(good, Derivation(taproot = Taproot.MerkleRoot(ByteArray(31))))
        }
        assertEquals("the merkle root", short.what)
        val origin = KeySet(listOf(Participant(key(0), KeyOrigin(ByteArray(3), emptyList()))))
        assertEquals("a fingerprint", thrown<MusigException.InvalidArgument> { finalKey(origin, keyPath()) }.what)
    }

    /** A wallet's keys in two key sets, one derived after the aggregation, and identity keys that sign no session. */
    @Test
    fun `key sets of a wallet sign`() = runBlocking {
        val signers = List(2) { signer(it) }
        val nodes = signers.map { MusigNode.start(config(), it) }
        connect(nodes)
        val origin = KeyOrigin(byteArrayOf(1, 2, 3, 4), listOf(0x8000_0056u, 1u))
        val wallet = KeySet(listOf(Participant(key(20), origin), Participant(key(21))), KeyOrder.SORTED)
        val other = keySet(listOf(key(41), key(40)), KeyOrder.AS_GIVEN)
        val wanted = listOf(
            Message(ByteArray(32) { 1 }, keySet = 1u, derivation = keyPath(0u, 7u)),
            Message(ByteArray(32) { 2 }, keySet = 2u),
        )
        val request = SessionRequest(
            keys(2),
            SessionContent.Messages(wanted),
            keySets = listOf(wallet, other),
            consent = JoinOptions(signBlind = true),
        )
        // A signer adds its keys while its node runs.
        assertEquals(ProposalProblem.KeyNotHeld(key(20)), refused { nodes[0].createSession(request) })
        assertTrue(signers[0].holds(key(0)))
        for ((index, own) in listOf(listOf(20, 41), listOf(21, 40)).withIndex()) {
            for (number in own) {
                assertFalse(signers[index].holds(key(number)))
                assertEquals(key(number), signers[index].addKey(secret(number)))
                assertTrue(signers[index].holds(key(number)))
            }
        }
        assertFalse(signers[0].holds(key(0)), "its identity key signs no session any more")
        assertEquals(ProposalProblem.KeyNotHeld(key(0)), refused { nodes[0].createSession(messageRequest(keys(2))) })

        val sessions = sign(nodes, request)
        val proposal = sessions[1].proposal()
        assertEquals(listOf(key(20), key(21)), proposal.keySets[0].participants.map { it.key })
        val seen = proposal.keySets[0].participants[0].origin!!
        assertArrayEquals(origin.fingerprint, seen.fingerprint)
        assertEquals(origin.path, seen.path)
        assertNull(proposal.keySets[0].participants[1].origin)
        assertEquals(other, proposal.keySets[1])
        assertEquals(
            listOf(0u to keyPath(0u, 7u), 1u to Derivation()),
            proposal.messages.map { it.keySet to it.derivation },
        )
        val signatures = nodes.map { async { it.await<Event.SessionComplete>().signatures } }.awaitAll()[1]
        val finals = listOf(finalKey(wallet, keyPath(0u, 7u)), finalKey(other, Derivation())).map { it.drop(2).bytes }
        for ((index, message) in wanted.withIndex()) {
            assertTrue(Schnorr.verifies(finals[index], message.digest, signatures[index]), "message $index")
            assertFalse(Schnorr.verifies(finals[1 - index], message.digest, signatures[index]), "message $index")
        }
        sessions.forEach { it.close() }
        closeAll(nodes)
        signers.forEach { it.close() }
    }

    @Test
    fun `a refused proposal is reported, with its proposer and the reason`() = runBlocking {
        val nodes = List(2) { MusigNode.start(config(), signer(it)) }
        connect(nodes)
        // Nobody holds the second key, in whose place the other node is.
        val strange = keySet(listOf(key(0), key(20)))
        val content = SessionContent.Messages(listOf(Message(ByteArray(32) { 1 }, keySet = 1u)))
        nodes[0].createSession(SessionRequest(keys(2), content, keySets = listOf(strange))).use {
            val refused = nodes[1].await<Event.ProposalRefused>()
            assertEquals(key(0), refused.proposer)
            assertTrue("does not hold the participant key" in refused.reason, refused.reason)
        }
        closeAll(nodes)
    }

    @Test
    fun `key sets of 600 addresses are given, and the one that is spent is signed`() = runBlocking {
        val held = signer(0)
        held.addKey(secret(20))
        val node = MusigNode.start(config(offline = true), held)
        val wallet = keySet(listOf(key(20)))
        val request = SessionRequest(
            keys(1),
            Spend(wallet, derivation = keyPath(0u, 321u)).content,
            keySets = listOf(wallet),
            derivations = List(600) { KeyDerivation(keyPath(0u, it.toUInt()), keySet = 1u) },
        )
        node.createSession(request).use { session ->
            val proposal = session.proposal()
            assertEquals(listOf(wallet), proposal.keySets)
            val message = proposal.messages.single()
            assertEquals(0u to keyPath(0u, 321u), message.keySet to message.derivation)
            assertTrue(proposal.encoded.size < 500, "${proposal.encoded.size} bytes")
            val signature = node.await<Event.SessionComplete>().signatures.single()
            val output = finalKey(wallet, keyPath(0u, 321u)).drop(2).bytes
            assertTrue(Schnorr.verifies(output, message.digest, signature))
        }
        closeAll(listOf(node))
        held.close()
    }

    @Test
    fun `key sets name what is wrong with a request`() = runBlocking {
        val node = MusigNode.start(config(offline = true), signer(0))
        suspend fun problem(vararg messages: Message, keySets: List<KeySet>? = null) = refused {
            node.createSession(SessionRequest(keys(2), SessionContent.Messages(messages.asList()), keySets = keySets))
        }
        val digest = ByteArray(32)
        assertEquals(ProposalProblem.Index("key set", 1uL), problem(Message(digest, keySet = 1u)))
        val hardened = Message(digest, derivation = keyPath(0xffff_ffffu))
        assertEquals(ProposalProblem.HardenedChild(0xffff_ffffu), problem(hardened))
        val twice = KeySet(listOf(Participant(key(20)), Participant(key(20))))
        assertEquals(ProposalProblem.DuplicateKey(0u, 1u), problem(Message(digest, keySet = 1u), keySets = listOf(twice)))
        val short = thrown<MusigException.InvalidArgument> { problem(Message(ByteArray(31))) }
        assertEquals("the digest of a message", short.what)
        assertTrue(node.sessions().isEmpty(), "nothing changed")
        closeAll(listOf(node))
    }

    @Test
    fun `key sets need their secrets again after a lock`() {
        val held = signer(0)
        held.addKey(secret(20))
        held.lock()
        assertTrue(held.holds(key(20)))
        held.unlock(secret(0))
        assertEquals(key(20), held.addKey(secret(20)))
        for (length in listOf(31, 32)) {
            val failure = assertThrows(MusigException.SignerFailed::class.java) { held.addKey(ByteArray(length)) }
            assertEquals(SignerProblem.InvalidSecret, failure.problem)
        }
        // One key, one purpose.
        assertThrows(MusigException.SignerFailed::class.java) { held.addKey(secret(0)) }
        held.close()
    }

    /** The first vector of BIP-32. */
    @Test
    fun `key sets of keys below an xprv`() {
        val xprv =
            "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4c" +
                "V1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7"
        val below = "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c"
        val fingerprint = byteArrayOf(0x34, 0x42, 0x19, 0x3e)
        val account = KeyOrigin(fingerprint, listOf(0x8000_0000u))
        val origin = KeyOrigin(fingerprint, listOf(0x8000_0000u, 1u))
        val held = signer(0)
        for ((text, wrong) in listOf("xprv" to account, xprv to origin)) {
            val failure = assertThrows(MusigException.SignerFailed::class.java) { held.addXprv(text, wrong) }
            assertEquals(SignerProblem.InvalidXprv, failure.problem)
        }
        assertTrue(held.holds(key(0)))
        held.addXprv(xprv, account)
        assertTrue(held.holds(below, origin))
        assertFalse(held.holds(below))
        assertFalse(held.holds(key(0)))
        held.close()
    }
}
