package org.libmusig

import java.nio.file.Files
import java.security.MessageDigest
import java.time.Instant
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.Broadcast
import org.libmusig.ffi.Event
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Network
import org.libmusig.ffi.Psbt
import org.libmusig.ffi.PsbtAnswer
import org.libmusig.ffi.PsbtDevice
import org.libmusig.ffi.PsbtRequest
import org.libmusig.ffi.PsbtSigner
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.SighashType
import org.libmusig.ffi.SpentOutput
import org.libmusig.ffi.finalKey
import org.libmusig.ffi.keySet

class PsbtSignerTest {
    /** The device's key; the node has the identity key alone. */
    private val key = signer(20).use { it.publicKey() }

    private val unsigned = ("0200000001" + "11".repeat(32) + "0000000000fdffffff0150c300000000000001" + "5100000000").bytes

    private val output = finalKey(keySet(listOf(key)), keyPath())

    private fun request(): SessionRequest {
        return SessionRequest(
            keys(1),
            SessionContent.Transaction(unsigned, listOf(SpentOutput(60_000u, ("5120" + output.drop(2)).bytes)), SighashType.DEFAULT),
            keySets = listOf(keySet(listOf(key))),
            broadcast = Broadcast.SignOnly,
        )
    }

    /** The PSBT with a public nonce of the device, by its field of BIP-373: two points that somebody else may know. */
    private fun withNonce(psbt: ByteArray) = with(psbt, ("431b" + key + output + "42" + key + key).bytes)

    /** The PSBT with a field of its input. */
    private fun with(psbt: ByteArray, field: ByteArray): ByteArray {
        // The map of the first input is after the global map. Everything in it is shorter than 253 bytes.
        var at = 5
        while (psbt[at] != 0.toByte()) {
            at += 1 + psbt[at]
            at += 1 + psbt[at].toUByte().toInt()
        }
        at += 1
        return psbt.copyOfRange(0, at) + field + psbt.copyOfRange(at, psbt.size)
    }

    private inner class Device : PsbtDevice {
        val handed = CopyOnWriteArrayList<List<Any>>()
        val cancelled = AtomicBoolean()

        private fun note(request: PsbtRequest): Int {
            assertEquals(listOf(key), request.keys())
            assertFalse(request.again() || request.isCancelled())
            assertTrue(request.expiresAt().isAfter(Instant.now()))
            val nonces = request.psbt().use { psbt -> psbt.inputs(Network.REGTEST).single().nonces }
            handed += listOf(request.session(), request.number(), nonces)
            return handed.size
        }

        override fun addNonces(request: PsbtRequest): PsbtAnswer = when (note(request)) {
            1 -> PsbtAnswer.Unreachable("plug it in")
            2 -> PsbtAnswer.Signed(Psbt.fromBytes(withNonce(request.psbt().use { it.toBytes() })))
            else -> {
                while (!request.isCancelled()) Thread.sleep(2)
                cancelled.set(true)
                PsbtAnswer.Cancelled
            }
        }

        override fun addPartials(request: PsbtRequest): PsbtAnswer {
            note(request)
            error("out of paper")
        }
    }

    /** One that signs. */
    private inner class SigningDevice : PsbtDevice {
        private val wallet = Schnorr.Alone(secret(20))

        private fun answer(request: PsbtRequest, kind: Byte, value: (ByteArray) -> ByteArray): PsbtAnswer {
            val psbt = request.psbt().use { it.toBytes() }
            val made = value(psbt)
            return PsbtAnswer.Signed(Psbt.fromBytes(with(psbt, byteArrayOf(0x43, kind) + wallet.slot + made.size.toByte() + made)))
        }

        override fun addNonces(request: PsbtRequest) = answer(request, 0x1b) { wallet.publicNonces }

        // It knows what it signs.
        override fun addPartials(request: PsbtRequest) = answer(request, 0x1c) { wallet.partial(sighash()) }
    }

    /** What the signature of the transaction's input signs (BIP-341). */
    private fun sighash(): ByteArray {
        val hash = { bytes: ByteArray -> MessageDigest.getInstance("SHA-256").digest(bytes) }
        val spent = listOf("60ea000000000000", "225120" + output.drop(2)).map { hash(it.bytes) }
        val ours = { from: Int, to: Int -> hash(unsigned.copyOfRange(from, to)) }
        val hashes = ours(5, 41) + spent[0] + spent[1] + ours(42, 46) + ours(47, unsigned.size - 4)
        return Schnorr.tagged("TapSighash", ByteArray(2) + unsigned.copyOf(4) + ByteArray(4) + hashes + ByteArray(5))
    }

    @Test
    fun `psbt_signer signs a whole session with its device`() = runBlocking {
        val psbtSigner = PsbtSigner(SigningDevice(), listOf(key))
        val node = MusigNode.start(config(offline = true), signer(0), psbtSigner = psbtSigner)
        val session = node.createSession(request())
        val signature = node.await<Event.SessionComplete>().signatures.single()
        assertTrue(Schnorr.verifies(output.drop(2).bytes, sighash(), signature))
        session.close()
        closeAll(listOf(node))
        psbtSigner.close()
    }

    private suspend fun MusigNode.failure(words: String) =
        await { (it.event as? Event.SignerFailed)?.reason.orEmpty().contains(words) }

    @Test
    fun `psbt_signer hands its device what it is to sign`() = runBlocking {
        val device = Device()
        val psbtSigner = PsbtSigner(device, listOf(key))
        val node = MusigNode.start(config(offline = true), signer(0), psbtSigner = psbtSigner)
        val session = node.createSession(request())
        val id = session.id()
        assertFalse(psbtSigner.askAgain("00".repeat(32)))
        node.failure("plug it in")
        node.failure("out of paper")
        val before = listOf(listOf<Any>(id, 1u, 0u), listOf<Any>(id, 1u, 0u), listOf<Any>(id, 2u, 1u))
        assertEquals(before, device.handed.toList())
        assertTrue(psbtSigner.askAgain(id))
        withTimeout(PATIENCE) { while (device.handed.size < 4) delay(2) }
        assertEquals(listOf<Any>(id, 3u, 0u), device.handed[3])
        session.close()
        closeAll(listOf(node))
        // The node waited for the call.
        assertTrue(device.cancelled.get())
        psbtSigner.close()
    }

    @Test
    fun `psbt_signer of a folder writes what is to be signed`() = runBlocking {
        val folder = Files.createTempDirectory("musig")
        val psbtSigner = PsbtSigner.ofFolder(folder.toString(), listOf(key), psbtVersion = 2u)
        val node = MusigNode.start(config(offline = true), signer(0), psbtSigner = psbtSigner)
        val session = node.createSession(request())
        assertEquals(1u, node.await<Event.SignerWaiting>().round)
        val asked = folder.resolve("${session.id()}.1.psbt")
        withTimeout(PATIENCE) { while (!Files.exists(asked)) delay(2) }
        val psbt = Files.readAllBytes(asked)
        assertEquals(2u, Psbt.fromBytes(psbt).use { it.version() })
        Files.write(folder.resolve("${session.id()}.1.answer.psbt"), withNonce(psbt))
        withTimeout(PATIENCE) { while (!Files.exists(folder.resolve("${session.id()}.2.psbt"))) delay(2) }
        session.close()
        closeAll(listOf(node))
        psbtSigner.close()
        assertThrows(MusigException.InvalidArgument::class.java) { PsbtSigner(Device(), listOf(key), psbtVersion = 1u) }
        folder.toFile().deleteRecursively()
        Unit
    }
}
