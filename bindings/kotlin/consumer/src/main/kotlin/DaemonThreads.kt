package org.example.daemonthreads

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.runBlocking
import org.libmusig.MusigNode
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.StoreChoice
import org.libmusig.logSink

/** Ends with an exception, while the library's threads that called into the JVM are there: the process ends all the same. */
fun main() {
    runBlocking {
        val caller = CompletableDeferred<Thread>()
        MusigNode.start(
            NodeConfig(StoreChoice.Memory, offline = true, withoutObserver = true),
            LocalSigner.generate(),
            logSink = logSink { caller.complete(Thread.currentThread()) },
        )
        val thread = caller.await()
        check(thread.isAlive && thread.isDaemon) { "$thread keeps the process running" }
        error("as planned, beside ${thread.name}")
    }
}
