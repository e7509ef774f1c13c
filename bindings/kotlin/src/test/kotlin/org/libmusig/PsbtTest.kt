package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.ChainSource
import org.libmusig.ffi.CoreAuth
import org.libmusig.ffi.Descriptor
import org.libmusig.ffi.Event
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Network
import org.libmusig.ffi.Psbt
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.SourceOptions
import org.libmusig.ffi.keySet

class PsbtTest {
    /** Two coins of the first test signer's key alone, with the paths 0/1 and 1/2 (BIP-328). */
    private val text =
        "cHNidP8BAKYCAAAAAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAAAAD9////AgICAgICAgICAgICAg" +
            "ICAgICAgICAgICAgICAgICAgIBAAAAAP3///8CoIYBAAAAAAAWABRaWlpaWlpaWlpaWlpaWlpaWlpaWpg6AAAAAAAA" +
            "IlEgSViXkGspP/yDSfyC4rQu/1rU8nq2439/Hbt6QJKoLVUAAAAAAAEBK2DqAAAAAAAAIlEg+Me84FL0wayi92WvfV" +
            "l9CNMTLMqZsEpxkjgBjDwypjUhFrQ6togSkuIGXp6JILbToHLeQUSv/O+pO6SpQ3vRzh6QDQAoNEEOAAAAAAEAAAAB" +
            "FyC0OraIEpLiBl6eiSC206By3kFEr/zvqTukqUN70c4ekCIaAjhktGGAcmM1t+y8xb1V3o+JvSt2r3W073JmfGY+Fd" +
            "cPIQJlZm4jehUj4Vb93yS4M19lj5DiEzB3WmebM7ZfuqOOOAABAStg6gAAAAAAACJRIPp5mMQ9bZnXWfFN1uwTnNL3" +
            "LlzZRMtIu4Hs3ZzWbP/CIRaJc5vi6nBoZMk/aVYlQNmQvJnCfkhG34uSetG3p1O9EQ0AKDRBDgEAAAACAAAAARcgiX" +
            "Ob4upwaGTJP2lWJUDZkLyZwn5IRt+LknrRt6dTvREiGgI4ZLRhgHJjNbfsvMW9Vd6Pib0rdq91tO9yZnxmPhXXDyEC" +
            "ZWZuI3oVI+FW/d8kuDNfZY+Q4hMwd1pnmzO2X7qjjjgAAAA="
    private val txid = "5f1a0ba5e8ead3a474a286566eb5f36e6b72409f7d615fb5992130e179dd6f0b"

    private inline fun <reified E : Exception> fails(word: String, crossinline block: () -> Unit) {
        val failure = assertThrows(E::class.java) { block() }
        assertTrue(failure.message.orEmpty().contains(word), failure.message)
    }

    @Test
    fun `psbts are read, shown and written`() {
        val psbt = Psbt.fromBase64(text)
        assertEquals(text, psbt.toBase64())
        assertArrayEquals(psbt.toBytes(), Psbt.fromBytes(psbt.toBytes()).use { it.toBytes() })
        assertEquals(0u, psbt.version())
        assertEquals(txid, psbt.txid())
        val inputs = psbt.inputs(Network.REGTEST)
        assertEquals(listOf(60_000uL, 60_000uL), inputs.map { it.value })
        assertTrue(inputs.all { it.toSign && !it.isFinal && it.participants == listOf(keys(1)) })
        assertEquals(listOf(100_000uL, 15_000uL), psbt.outputs(Network.REGTEST).map { it.value })
        fails<MusigException.InputRefused>("not a PSBT") { Psbt.fromBytes(ByteArray(0)) }
        fails<MusigException.InputRefused>("not complete") { psbt.extract() }
        fails<MusigException.InputRefused>("2 inputs") { psbt.withSignatures(emptyList()) }
        psbt.close()
    }

    @Test
    fun `a psbt is proposed, signed and finalized`() = runBlocking {
        val node = MusigNode.start(config(offline = true), signer(0))
        val psbt = Psbt.fromBase64(text)
        val content = SessionContent.Psbt(psbt.toBytes())
        val others = keys(2).drop(1)
        val refused = thrown<MusigException.InputRefused> { node.createSession(SessionRequest(others, content)) }
        assertTrue(refused.reason.contains("input 0"), refused.reason)
        val session = node.createSession(SessionRequest(keys(1), content, keySets = listOf(keySet(keys(1)))))
        val complete = node.await<Event.SessionComplete>()
        val signed = psbt.withSignatures(complete.signatures)
        assertEquals(signed.toBase64(), psbt.combined(signed).use { it.toBase64() })
        val final = signed.finalized()
        assertTrue(final.inputs(Network.REGTEST).all { it.isFinal })
        assertArrayEquals(complete.transaction!!.bytes, final.extract().bytes)
        assertEquals(txid, final.extract().txid)
        listOf(psbt, signed, final, session).forEach { it.close() }
        closeAll(listOf(node))
    }

    @Test
    fun `descriptors have the addresses of Bitcoin Core`() {
        val descriptor = Descriptor(
            "tr(musig(" +
                "tpubD6NzVbkrYhZ4XYxGG5zNXe8iHn3tndWYT2xh6EaJYeYEypcsyJRNBzRmZU5NygWKLS6Rtg8BpLmmhf9EsfQdsTKxgaTwcMC9UX7y1m5qGWU," +
                "tpubD6NzVbkrYhZ4WR79y4g79okceY4aYRSMDynmJL8mMnF3YXJxqzSMc7rZAJkQxi5DAgtjLCsZq8bbHu82B6MEJn2yvFmZ391AWLafSSb8Jh6" +
                ")/0/*)",
        )
        assertEquals("bcrt1pqff9x3s6cvytdmedk6jc5jna6hzfp7gn23ru4eejhd87mt0522wsun8k40", descriptor.address(Network.REGTEST, 3u))
        Descriptor(descriptor.text()).use { assertEquals(descriptor.text(), it.text()) }
        assertEquals(1u, descriptor.branches())
        assertTrue(descriptor.isRanged())
        val made = descriptor.keys(3u)
        assertEquals(listOf(0u, 3u), made.derivation.path)
        assertEquals("5120" + made.key.drop(2), descriptor.outputScript(3u).hex)
        assertTrue(Psbt.fromBase64(text).use { descriptor.keySets(it) }.isEmpty())
        fails<MusigException.InputRefused>("network") { descriptor.address(Network.MAINNET, 3u) }
        fails<MusigException.InputRefused>("wsh") { Descriptor("wsh(pk(xpub))") }
        descriptor.close()
    }

    @Test
    fun `sources are set up, and a node asks them`() = runBlocking {
        val options = SourceOptions(certificateAuthority = "none".toByteArray())
        fails<MusigException.InvalidConfig>("certificate") { ChainSource.esplora("https://127.0.0.1", options) }
        fails<MusigException.InvalidConfig>("127.0.0.1") { ChainSource.electrum("127.0.0.1") }
        val core = ChainSource.bitcoinCore("http://127.0.0.1:9", CoreAuth.Password("user", "secret"))
        assertTrue(core.name().contains("127.0.0.1:9"))
        assertFalse(core.name().contains("secret"))
        fails<MusigException.ChainUnreachable>("127.0.0.1:9") { core.observer().tip() }
        fails<MusigException.ChainUnreachable>("127.0.0.1:9") { core.observer().congested() }
        val source = ChainSource.combined(listOf(core), listOf(ChainSource.esplora("http://127.0.0.1:9")))
        val node = MusigNode.start(
            config(offline = true, withoutObserver = false),
            signer(0),
            broadcaster = source.broadcaster(),
            observer = source.observer(),
        )
        // The coins cannot be asked about, and nobody said that this does not matter.
        val psbt = Psbt.fromBase64(text).use { it.toBytes() }
        thrown<MusigException.ConsentRefused> { node.createSession(SessionRequest(keys(1), SessionContent.Psbt(psbt))) }
        closeAll(listOf(node))
        listOf(core, source).forEach { it.close() }
    }
}
