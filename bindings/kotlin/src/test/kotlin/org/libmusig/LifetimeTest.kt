package org.libmusig

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Order
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.Event
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.SubmitOutcome
import org.libmusig.ffi.liveObjects
import java.io.File

/** After the other classes, whose objects must be gone by then. */
@Order(Int.MAX_VALUE - 1)
class LifetimeTest {
    private suspend fun cycle(index: Int) {
        val submitted = java.util.concurrent.atomic.AtomicBoolean()
        KotlinSignerNode(index, submitted).run()
    }

    private class KotlinSignerNode(val index: Int, val submitted: java.util.concurrent.atomic.AtomicBoolean) {
        suspend fun run() {
            signer(0).use { held ->
                signer(0).use { inner ->
                    MusigNode.start(
                        config(offline = true, withoutObserver = false),
                        held,
                        broadcaster { submitted.set(true); SubmitOutcome.Accepted },
                        chainObserver { if (submitted.get()) ChainStatus.Seen else ChainStatus.Unknown },
                        logSink { },
                        KotlinSigner(inner),
                    ).use { node ->
                        val coin = Spend(wallet(1), index % 200).content
                        node.createSession(SessionRequest(keys(1), coin, keySets = listOf(wallet(1)))).close()
                        node.await<Event.BroadcastSeen>()
                        node.stop()
                    }
                }
            }
        }
    }

    private fun collect() {
        System.gc()
        System.runFinalization()
    }

    private fun resident(): Long =
        File("/proc/self/status").readLines().first { it.startsWith("VmRSS") }.filter { it.isDigit() }.toLong()

    @Test
    fun `no object outlives its node`() = runBlocking {
        repeat(3) { cycle(it + 1) }
        var live = emptyMap<String, ULong>()
        try {
            eventually("all are gone") {
                collect()
                live = liveObjects().filterValues { it != 0uL }
                live.isEmpty()
            }
        } finally {
            println("live objects: $live of ${liveObjects().keys.sorted()}")
        }
        assertEquals(emptyMap<String, ULong>(), live)
        assertTrue(liveObjects().keys.containsAll(listOf("Node", "Session", "Signer", "Broadcaster", "ChainObserver")))
    }

    @Test
    @Timeout(150)
    fun `memory stays the same over 1000 cycles`() = runBlocking {
        val marks = mutableMapOf<Int, Long>()
        val start = System.nanoTime()
        val threads = Thread.getAllStackTraces().size
        for (index in 1..1000) {
            cycle(index)
            if (index == 200 || index == 600 || index == 1000) {
                collect()
                marks[index] = resident()
            }
        }
        val seconds = (System.nanoTime() - start) / 1_000_000_000
        println("memory after cycle: ${marks.map { "${it.key}: ${it.value} KiB" }}, in $seconds s")
        assertTrue(marks.getValue(1000) <= marks.getValue(200) * 105 / 100, "it grew: $marks")
        assertTrue(Thread.getAllStackTraces().size <= threads + 8, "threads stay")
    }
}
