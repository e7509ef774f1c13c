package org.example.consumer

import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import org.libmusig.MusigNode
import org.libmusig.broadcaster
import org.libmusig.chainObserver
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.Event
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.LogLevel
import org.libmusig.ffi.Message
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.StoreChoice
import org.libmusig.ffi.SubmitOutcome
import org.libmusig.logSink
import java.util.concurrent.ConcurrentHashMap

/** Throws while its node runs, whose threads have called it: the process ends all the same. */
object Throws {
    @JvmStatic
    fun main(arguments: Array<String>): Unit = runBlocking<Unit> {
        val callers = ConcurrentHashMap.newKeySet<Thread>()
        val signer = LocalSigner.generate()
        val node = MusigNode.start(
            NodeConfig(StoreChoice.Memory, offline = true, logLevel = LogLevel.TRACE),
            signer,
            broadcaster { callers.add(Thread.currentThread()); SubmitOutcome.Accepted },
            chainObserver { callers.add(Thread.currentThread()); ChainStatus.Unknown },
            logSink { callers.add(Thread.currentThread()) },
        )
        val content = SessionContent.Messages(listOf(Message(ByteArray(32))))
        node.createSession(SessionRequest(listOf(signer.publicKey()), content))
        node.events().first { it.event is Event.SessionComplete }
        check(callers.isNotEmpty()) { "nobody called" }
        val others = callers.filterNot { it.isDaemon && it.name == "libmusig" }
        check(others.isEmpty()) { "not daemons: $others" }
        throw IllegalArgumentException("as it should be")
    }
}
