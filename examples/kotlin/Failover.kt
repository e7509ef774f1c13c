/*
 * Three signers spend their coin. The elected coordinator stops before it broadcasts, and the next signer does. The argument
 * is the address of an Esplora server on regtest; `cargo run --example chain -- java … FailoverKt` gives that of a small chain,
 * which also pays the coin.
 */
package org.example.failover

import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.libmusig.MusigNode
import org.libmusig.ffi.ChainSource
import org.libmusig.ffi.Derivation
import org.libmusig.ffi.Event
import org.libmusig.ffi.Broadcast
import org.libmusig.ffi.FailoverPolicy
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.Network
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.SighashType
import org.libmusig.ffi.SpentOutput
import org.libmusig.ffi.StoreChoice
import org.libmusig.ffi.SummaryOptions
import org.libmusig.ffi.Taproot
import org.libmusig.ffi.address
import org.libmusig.ffi.finalKey
import org.libmusig.ffi.keySet
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.time.Duration
import java.util.concurrent.CountDownLatch

private const val VALUE = 100_000L
private const val FEE = 1_000L

/** Spends one output of the signers' key (BIP-341, key path) to itself. */
private fun spend(keys: List<String>, coin: String): SessionContent {
    val (txid, vout) = coin.split(":")
    val script = bytes("5120" + finalKey(keySet(keys), Derivation(taproot = Taproot.KeyPath)).drop(2))
    val unsigned = ByteBuffer.allocate(94).order(ByteOrder.LITTLE_ENDIAN)
        .putInt(2) // Version.
        .put(1).put(bytes(txid).reversedArray()).putInt(vout.toInt()).put(0).putInt(-3) // One input.
        .put(1).putLong(VALUE - FEE).put(script.size.toByte()).put(script) // One output.
        .putInt(0) // Lock time.
    return SessionContent.Transaction(
        unsigned = unsigned.array(),
        spent = listOf(SpentOutput(value = VALUE.toULong(), script = script)),
        sighashType = SighashType.DEFAULT,
    )
}

private fun bytes(hex: String) = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

fun main(arguments: Array<String>) = runBlocking {
    // Your own Bitcoin node: ChainSource.bitcoinCore("http://127.0.0.1:8332", CoreAuth.CookieFile("…/.cookie")).
    val source = ChainSource.esplora(arguments.single())
    // In the order of election, which by default is the order of the keys.
    val signers = List(3) { LocalSigner.generate() }.sortedBy { it.publicKey() }
    val keys = signers.map { it.publicKey() }
    val names = listOf("coordinator", "first backup", "second backup")
    val config = NodeConfig(StoreChoice.Memory, listen = listOf("/ip4/127.0.0.1/tcp/0"))
    val nodes = signers.mapIndexed { index, signer ->
        // The coordinator has no broadcaster, so that it cannot be too quick for this program.
        MusigNode.start(config, signer, if (index == 0) null else source.broadcaster(), source.observer())
    }
    while (nodes[0].listenAddresses().isEmpty() || nodes[1].listenAddresses().isEmpty()) delay(10)
    nodes[1].addPeer(nodes[0].listenAddresses().first())
    nodes[2].addPeer(nodes[0].listenAddresses().first())
    nodes[2].addPeer(nodes[1].listenAddresses().first())

    println("pay $VALUE ${address(keySet(keys), Derivation(taproot = Taproot.KeyPath), Network.REGTEST)}")
    val coin = readln()
    val policy = FailoverPolicy(broadcastTimeout = Duration.ofSeconds(2))
    val session = nodes[0].createSession(SessionRequest(keys, spend(keys, coin), broadcast = Broadcast.Failover(policy)))
    println("proposed ${session.id()}")

    val signed = CountDownLatch(nodes.size)
    withTimeout(60_000) {
        coroutineScope {
            for ((name, node) in names.zip(nodes)) launch {
                node.handleEvents { received ->
                    when (val event = received.event) {
                        is Event.SessionProposed -> node.session(received.session!!).use { session ->
                            println(session.summary(SummaryOptions(Network.REGTEST)).text)
                            session.join()
                        }
                        is Event.SessionComplete -> {
                            println("$name: holds the signatures")
                            signed.countDown()
                            if (signed.count == 0L) {
                                println("coordinator: stops")
                                nodes[0].stop()
                            }
                        }
                        is Event.CoordinatorFailed -> println("$name: signers ${event.failed} failed, now ${event.next}")
                        is Event.ShouldBroadcast -> println("$name: its turn ${event.turn}")
                        is Event.BroadcastSeen -> {
                            println("$name: sees ${event.txid}")
                            node.stop()
                        }
                        else -> Unit
                    }
                }
            }
        }
    }
    nodes.forEach { it.close() }
    source.close()
    println("a backup broadcast it")
}
