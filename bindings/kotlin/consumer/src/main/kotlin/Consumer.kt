package org.example.consumer

import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import org.libmusig.MusigNode
import org.libmusig.broadcaster
import org.libmusig.chainObserver
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.Event
import org.libmusig.ffi.KeyOrder
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.Message
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.StoreChoice
import org.libmusig.ffi.SubmitOutcome
import org.libmusig.ffi.aggregateKey
import org.libmusig.ffi.libraryVersion

/** One signer signs alone. The node is left running: that must not keep the process alive. */
fun main() = runBlocking {
    val signer = LocalSigner.generate()
    val node = MusigNode.start(
        NodeConfig(StoreChoice.Memory, offline = true),
        signer,
        broadcaster { SubmitOutcome.Accepted },
        chainObserver { ChainStatus.Unknown },
    )
    val keys = listOf(signer.publicKey())
    node.createSession(SessionRequest(keys, SessionContent.Messages(listOf(Message(ByteArray(32))))))
    val complete = node.events().first { it.event is Event.SessionComplete }
    check(complete.ack())
    println("libmusig ${libraryVersion()} signs under ${aggregateKey(keys, KeyOrder.SORTED)}")
}
