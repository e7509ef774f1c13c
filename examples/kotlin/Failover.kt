/*
 * Three signers sign a transaction. The elected coordinator stops before it broadcasts, and the next signer does, through
 * a Broadcaster written in Kotlin. Run by bindings/kotlin/test.sh; exits with 0 if the transaction arrived.
 */
package org.example.failover

import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.libmusig.MusigNode
import org.libmusig.broadcaster
import org.libmusig.chainObserver
import org.libmusig.ffi.ChainStatus
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
import org.libmusig.ffi.SignedTransaction
import org.libmusig.ffi.SpentOutput
import org.libmusig.ffi.StoreChoice
import org.libmusig.ffi.SubmitOutcome
import org.libmusig.ffi.SummaryOptions
import org.libmusig.ffi.Taproot
import org.libmusig.ffi.finalKey
import org.libmusig.ffi.keySet
import java.time.Duration
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CountDownLatch

/** Stands for a Bitcoin node that all signers use: who submitted which transaction. */
private val mempool = ConcurrentHashMap<String, Pair<String, SignedTransaction>>()

private fun wayOf(name: String) = broadcaster { transaction ->
    mempool.putIfAbsent(transaction.txid, name to transaction)
    SubmitOutcome.Accepted
}

private val observer = chainObserver { query ->
    if (mempool.containsKey(query.txid)) ChainStatus.Seen else ChainStatus.Unknown
}

/** Spends one output of the signers' key (BIP-341, key path) to itself. */
private fun spend(keys: List<String>): SessionContent {
    val outputKey = finalKey(keySet(keys), Derivation(taproot = Taproot.KeyPath)).drop(2)
    val script = "5120$outputKey"
    val input = "ab".repeat(32) + "00000000" + "00" + "fdffffff"
    val output = "1027000000000000" + "22" + script
    return SessionContent.Transaction(
        unsigned = bytes("02000000" + "01" + input + "01" + output + "00000000"),
        spent = listOf(SpentOutput(value = 10_500uL, script = bytes(script))),
        sighashType = SighashType.DEFAULT,
    )
}

private fun bytes(hex: String) = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

fun main() = runBlocking {
    // In the order of election, which by default is the order of the keys.
    val signers = List(3) { LocalSigner.generate() }.sortedBy { it.publicKey() }
    val keys = signers.map { it.publicKey() }
    val names = listOf("coordinator", "first backup", "second backup")
    val config = NodeConfig(StoreChoice.Memory, listen = listOf("/ip4/127.0.0.1/tcp/0"))
    val nodes = signers.mapIndexed { index, signer ->
        // The coordinator has no Broadcaster, so that it cannot be too quick for this program.
        MusigNode.start(config, signer, if (index == 0) null else wayOf(names[index]), observer)
    }
    while (nodes[0].listenAddresses().isEmpty() || nodes[1].listenAddresses().isEmpty()) delay(10)
    nodes[1].addPeer(nodes[0].listenAddresses().first())
    nodes[2].addPeer(nodes[0].listenAddresses().first())
    nodes[2].addPeer(nodes[1].listenAddresses().first())

    val policy = FailoverPolicy(broadcastTimeout = Duration.ofSeconds(2))
    val session = nodes[0].createSession(SessionRequest(keys, spend(keys), broadcast = Broadcast.Failover(policy)))
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
    val (by, transaction) = mempool.values.single()
    check(by == "first backup") { "the $by broadcast" }
    println("broadcast by the $by: ${transaction.bytes.size} bytes")
}
