/*
 * The Kotlin node of the test of all languages: docs/interop.md says what it reads and writes.
 */
package org.example.interop

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import org.libmusig.MusigNode
import org.libmusig.ffi.ElectionMethod
import org.libmusig.ffi.Event
import org.libmusig.ffi.Broadcast
import org.libmusig.ffi.FailoverPolicy
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.Message
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.StoreChoice
import java.time.Duration

private fun bytes(hex: String) = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

private fun hex(bytes: ByteArray) = bytes.joinToString("") { "%02x".format(it) }

private fun say(line: String) {
    println(line)
    System.out.flush()
}

private suspend fun order(node: MusigNode, words: List<String>): Boolean {
    when (words.firstOrNull()) {
        "peer" -> node.addPeer(words[1])
        "propose" -> {
            val policy = FailoverPolicy(broadcastTimeout = Duration.ofMillis(words[1].toLong()))
            val content = SessionContent.Messages(listOf(Message(bytes(words[2]))))
            val keys = words.drop(3)
            val method = ElectionMethod.FIRST_SIGNER
            node.createSession(SessionRequest(keys, content, electionMethod = method, broadcast = Broadcast.Failover(policy)))
        }
        "broadcast" -> node.session(words[1]).notifyBroadcastComplete("07".repeat(32))
        else -> return false
    }
    return true
}

fun main(arguments: Array<String>) = runBlocking {
    val secret = readln().removePrefix("secret ")
    val config = NodeConfig(
        StoreChoice.File(arguments[0]),
        listen = listOf("/ip4/127.0.0.1/tcp/0"),
        withoutObserver = true,
    )
    val node = MusigNode.start(config, LocalSigner(bytes(secret)))
    val events = launch(Dispatchers.Default) {
        node.handleEvents { received ->
            val id = received.session ?: return@handleEvents
            when (val event = received.event) {
                is Event.SessionProposed -> node.session(id).join()
                is Event.SessionComplete -> say("complete $id ${hex(event.signatures.first())}")
                is Event.ShouldBroadcast -> say("should-broadcast $id ${event.turn}")
                is Event.BroadcastClaimed -> node.session(id).notifyBroadcastComplete()
                is Event.BroadcastConfirmed -> say("confirmed $id")
                else -> Unit
            }
        }
    }
    while (node.listenAddresses().isEmpty()) delay(5)
    say("listening ${node.listenAddresses().first()}")
    while (true) {
        val line = withContext(Dispatchers.IO) { readlnOrNull() } ?: break
        if (!order(node, line.trim().split(" "))) break
    }
    node.stop()
    events.join()
    node.close()
}
