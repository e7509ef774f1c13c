package org.libmusig

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.ElectionMethod
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.SignerIndex
import org.libmusig.ffi.backupAfter
import org.libmusig.ffi.elect
import org.libmusig.ffi.verifyElection
import java.io.File

class ElectionTest {
    private val vectors: List<JsonObject> =
        JsonParser.parseString(File(System.getProperty("musig.vectors")).readText())
            .asJsonObject["cases"].asJsonArray.map { it.asJsonObject }

    private val methods = mapOf(
        "lexicographic" to ElectionMethod.LEXICOGRAPHIC,
        "hash-based" to ElectionMethod.HASH_BASED,
        "first-signer" to ElectionMethod.FIRST_SIGNER,
        "last-signer" to ElectionMethod.LAST_SIGNER,
    )

    @Test
    fun `the reference vectors`() {
        assertTrue(vectors.size >= 16, "there are ${vectors.size}")
        assertEquals(methods.keys, vectors.map { it["method"].asString }.toSet())
        for (case in vectors) {
            val name = "${case["name"].asString}, ${case["method"].asString}"
            val signers = case["pubkeys"].asJsonArray.map { it.asString }
            val election = elect(signers, methods.getValue(case["method"].asString))
            assertEquals(case["coordinatorIndex"].asInt, election.coordinator.toInt(), name)
            assertEquals(case["priorityList"].asJsonArray.map { it.asInt }, election.priorityList.map { it.toInt() }, name)
            assertEquals(case["electionProof"].asString, election.proof, name)
            assertTrue(verifyElection(election, signers), name)
            val backups = case["backups"].asJsonArray.map { if (it.isJsonNull) null else it.asInt }
            assertEquals(backups, signers.indices.map { backupAfter(election, it.toUInt())?.toInt() }, name)
            assertFalse(verifyElection(election.copy(proof = "00".repeat(32)), signers), name)
        }
    }

    @Test
    fun `the salted election asks for its session`() {
        val signers = keys(3)
        assertThrows(MusigException.InvalidArgument::class.java) { elect(signers, ElectionMethod.SESSION_SALTED) }
        val elections = (0..40).map { elect(signers, ElectionMethod.SESSION_SALTED, "%064x".format(it)) }
        assertEquals(setOf(0u, 1u, 2u), elections.map { it.coordinator }.toSet())
    }

    @Test
    fun `errors carry their data`() {
        assertThrows(MusigException.NoSigners::class.java) { elect(emptyList(), ElectionMethod.LEXICOGRAPHIC) }
        val election = elect(keys(3), ElectionMethod.LEXICOGRAPHIC)
        val indices: List<SignerIndex> = election.priorityList
        assertEquals(listOf<SignerIndex>(0u, 1u, 2u), indices.sorted())
        val error = assertThrows(MusigException.IndexOutOfRange::class.java) { backupAfter(election, 3u) }
        assertEquals(3u to 3u, error.index to error.signers)
        val key = assertThrows(MusigException.InvalidArgument::class.java) { elect(listOf("02"), ElectionMethod.LEXICOGRAPHIC) }
        assertEquals("signer key", key.what)
    }
}
