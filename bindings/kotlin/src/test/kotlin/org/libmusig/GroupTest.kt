package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.Event
import org.libmusig.ffi.Group
import org.libmusig.ffi.KeyOrigin
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Network
import org.libmusig.ffi.Psbt
import org.libmusig.ffi.SignerCard
import org.libmusig.ffi.SummaryOptions

class GroupTest {
    /** The accounts m/86h/1h/0h of the first two test signers (seeds of 32 bytes of 1, and of 2). */
    private val xprv =
        "tprv8gu9QgkiEYuyJBmqmNeC5KmipxteBE9mumXJAWseqET8Dt5R8ZVSWnkVmFCGZaKEQmDZVoZewD8V5d8YkLzkdJu6CN7gwbpu25knZqEYeQw"
    private val xpubs = listOf(
        "tpubDDbBZ6nxNvbeBeodf2JnUjRqPzQaLZLgV585T2uxFWFX4NLBkxK2hHNMwPxtNoBqbCHwSNci6sgqZzU4h6MydLLw2n9Z2uQhREMzha3YHVH",
        "tpubDCBTMav4AWLFqAAQAz156HuNzTVhyqVbhnfhDqnkGBGZBSBEaJv9HZiJUmkqWg8cHitf7v5cTFBSwipJhzi7csQDHBwGNh6zRcaJ14D6vcQ",
    )
    private val fingerprints = listOf("4ba43603", "8dfc9b34")
    private val path = listOf(0x80000056u, 0x80000001u, 0x80000000u)

    /** Two coins of the group of the first one alone (0/0, 1/5), and two outputs. */
    private val text =
        "cHNidP8BAJECAAAAAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAAAAD9////AgICAgICAgICAgICAgIC" +
            "AgICAgICAgICAgICAgICAgIAAAAAAP3///8CUMMAAAAAAAABUYgNAQAAAAAAIlEgr8hvg3MIbfH5fP9XHF9VymlLTMZB" +
            "/ZLPclw8BuIXPPcAAAAAAAEBK2DqAAAAAAAAIlEgz2POvuHy1d6fbobVcqc0HSkEURFIutpp0irmL7Vrd3QhFosxEiA6" +
            "l0FDYowbl5DugPn2YXOZRYcSK5Gx/9klamc1EQBLpDYDVgAAgAEAAIAAAACAIRb7hwuSUYkDf+zYSlzJqf5qRvnivps7" +
            "zs00rIV1oWvLuw0AmqouIgAAAAAAAAAAARcg+4cLklGJA3/s2Epcyan+akb54r6bO87NNKyFdaFry7siGgLZZYVVuU4L" +
            "iWOYm3diOhaxBuqWFugYhpf3ij9dOZAxRiEDizESIDqXQUNijBuXkO6A+fZhc5lFhxIrkbH/2SVqZzUAAQErYOoAAAAA" +
            "AAAiUSCkRKusrhgqFlILn6JGnV7Ui1Sv3bawY7N7L/xiS1kJ2yEWNrQWTUW3SHApCzJFTbZ4jz88yGDaaUHn2z8FdRC8" +
            "cqsNAJqqLiIBAAAABQAAACEWizESIDqXQUNijBuXkO6A+fZhc5lFhxIrkbH/2SVqZzURAEukNgNWAACAAQAAgAAAAIAB" +
            "FyA2tBZNRbdIcCkLMkVNtniPPzzIYNppQefbPwV1ELxyqyIaAtllhVW5TguJY5ibd2I6FrEG6pYW6BiGl/eKP105kDFG" +
            "IQOLMRIgOpdBQ2KMG5eQ7oD59mFzmUWHEiuRsf/ZJWpnNQAAAA=="

    private fun origin(index: Int) = KeyOrigin(fingerprints[index].bytes, path)

    private fun card(index: Int, name: String? = null, addresses: List<String> = emptyList()): SignerCard =
        signer(index).use { SignerCard(it, xpubs[index], origin(index), name, addresses) }

    private inline fun refused(word: String, crossinline block: () -> Unit) {
        val failure = assertThrows(MusigException.InputRefused::class.java) { block() }
        assertTrue(failure.reason.contains(word), failure.reason)
    }

    @Test
    fun `group cards go from one signer to another as text`() {
        val made = card(0, "Alice", listOf("/dns4/alice.example/tcp/4001"))
        for (text in listOf(made.text(), made.qrText())) {
            val read = SignerCard.parse(text)
            assertEquals(keys(1).single(), read.identity())
            assertEquals(xpubs[0], read.xpub())
            assertEquals(fingerprints[0], read.origin().fingerprint.hex)
            assertEquals(path, read.origin().path)
            assertEquals("Alice", read.name())
            assertFalse(read.isMainnet())
            assertFalse(read.participantKey() == read.identity())
            assertEquals(listOf("/dns4/alice.example/tcp/4001"), read.addresses())
            read.close()
        }
        assertTrue(made.text().startsWith("musig1"))
        card(0).use { assertNull(it.name()) }
        refused("checksum") { SignerCard.parse(made.text().dropLast(1)) }
        refused("another place") {
            signer(0).use { SignerCard(it, xpubs[0], KeyOrigin(fingerprints[0].bytes, path.dropLast(1))) }
        }
        made.close()
    }

    @Test
    fun `group of the same cards is the same wallet for all`() {
        val cards = listOf(card(0), card(1))
        val group = Group(cards)
        val turned = Group(cards.reversed())
        val read = Group.fromJson(group.toJson())
        for (other in listOf(group, turned, read)) {
            assertEquals("gotis lonof tihad pilan losuk dunum bolim hipis", other.checkPhrase())
            assertEquals("bcrt1pwvgqslc0n3hc2gggd7s0mfpksn9rufpwx6kvpnvh28hg737f8m7spvaeqq", other.address(Network.REGTEST, 0u))
            assertEquals("bcrt1prkx65a25s0wml9zx7zrah94ajcag08xudu20qq5rxh6gjqpfny8s9fse89", other.address(Network.REGTEST, 5u, true))
            assertEquals(keys(2).sorted(), other.signers())
            assertEquals(other.signers(), other.cards().map { card -> card.use { it.identity() } })
        }
        assertEquals(group.address(Network.REGTEST, 5u, true), group.descriptor().use { it.address(Network.REGTEST, 5u, 1u) })
        assertEquals(listOf(1u, 5u), group.keys(5u, true).derivation.path)
        assertEquals(group.keySet().participants.map { it.key }, group.keys(5u, true).keySet.participants.map { it.key })
        assertFalse(group.isMainnet())
        refused("cards 0 and 1") { Group(listOf(cards[0], cards[0])) }
        refused("network") { group.address(Network.MAINNET, 0u) }
        refused("no list") { Group.fromJson("{\"musig_group\": 1}") }
        (cards + listOf(group, turned, read)).forEach { it.close() }
    }

    @Test
    fun `group signs a psbt that spends its coins`() = runBlocking {
        val own = signer(0)
        own.addXprv(xprv, origin(0))
        val node = MusigNode.start(config(offline = true), own)
        val group = card(0).use { Group(listOf(it)) }
        val psbt = Psbt.fromBase64(text)
        val descriptor = group.descriptor()
        node.addDescriptor(descriptor, nextIndex = 6u)
        val kept = node.descriptors().single()
        assertEquals(Triple(descriptor.text(), 6u, 20u), Triple(kept.descriptor.text(), kept.nextIndex, kept.gapLimit))
        // What the descriptor knows of the change.
        psbt.updated(descriptor).use { updated ->
            assertTrue(updated.toBytes().size > psbt.toBytes().size)
            updated.updated(descriptor, 6u).use { assertEquals(updated.toBase64(), it.toBase64()) }
        }
        val session = node.createSession(group.request(psbt))
        val transaction = session.summary(SummaryOptions(Network.REGTEST)).transaction!!
        assertEquals(listOf(true, true), transaction.inputs.map { it.own })
        assertEquals(listOf(false, true), transaction.outputs.map { it.own })
        val complete = node.await<Event.SessionComplete>()
        psbt.withSignatures(complete.signatures).use { signed -> signed.finalized().use { it.extract() } }
        node.removeDescriptor(descriptor)
        assertTrue(node.descriptors().isEmpty())
        kept.descriptor.close()
        listOf(psbt, group, session, descriptor).forEach { it.close() }
        closeAll(listOf(node))
    }
}
