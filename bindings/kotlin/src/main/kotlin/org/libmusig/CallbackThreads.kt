package org.libmusig

import com.sun.jna.Native
import org.libmusig.ffi.Broadcaster
import org.libmusig.ffi.ChainObserver
import org.libmusig.ffi.ChainQuery
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.ChainTip
import org.libmusig.ffi.CoinStatus
import org.libmusig.ffi.KeyOrigin
import org.libmusig.ffi.LogRecord
import org.libmusig.ffi.LogSink
import org.libmusig.ffi.NonceRequest
import org.libmusig.ffi.OutPoint
import org.libmusig.ffi.PartialRequest
import org.libmusig.ffi.Signer
import org.libmusig.ffi.SignedTransaction
import org.libmusig.ffi.SubmitOutcome

/*
 * Foreign objects are called on threads of the library's, which live as long as their node. They stay known to the JVM
 * between two calls: otherwise JNA attaches and detaches them each time, which costs three times the call itself, and
 * fails where the object calls the node, whose answer comes back on the same thread.
 */
private fun <T> attached(call: () -> T): T {
    Native.detach(false)
    return call()
}

internal fun Broadcaster.attached(): Broadcaster = object : Broadcaster {
    override fun submit(transaction: SignedTransaction): SubmitOutcome =
        attached { this@attached.submit(transaction) }
}

internal fun ChainObserver.attached(): ChainObserver = object : ChainObserver {
    override fun status(query: ChainQuery): ChainStatus = attached { this@attached.status(query) }
    override fun coin(outpoint: OutPoint): CoinStatus? = attached { this@attached.coin(outpoint) }
    override fun tip(): ChainTip? = attached { this@attached.tip() }
}

internal fun LogSink.attached(): LogSink = object : LogSink {
    override fun log(record: LogRecord): Unit = attached { this@attached.log(record) }
}

internal fun Signer.attached(): Signer = object : Signer {
    override fun holds(key: String, origin: KeyOrigin?): Boolean = attached { this@attached.holds(key, origin) }
    override fun makeNonces(request: NonceRequest): List<ByteArray> = attached { this@attached.makeNonces(request) }
    override fun makePartials(request: PartialRequest): List<ByteArray> =
        attached { this@attached.makePartials(request) }
    override fun forget(session: String, attempt: UInt): Unit = attached { this@attached.forget(session, attempt) }
}
