package org.libmusig

import org.libmusig.ffi.Broadcaster
import org.libmusig.ffi.ChainObserver
import org.libmusig.ffi.ChainQuery
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.LogRecord
import org.libmusig.ffi.LogSink
import org.libmusig.ffi.SignedTransaction
import org.libmusig.ffi.SubmitOutcome

/** A [Broadcaster] of one function. Any exception means that the Bitcoin backend cannot be reached. */
public fun broadcaster(action: (SignedTransaction) -> SubmitOutcome): Broadcaster = object : Broadcaster {
    override fun submit(transaction: SignedTransaction): SubmitOutcome = action(transaction)
}

/** A [ChainObserver] of one function. Any exception means that the Bitcoin backend cannot be reached. */
public fun chainObserver(action: (ChainQuery) -> ChainStatus): ChainObserver = object : ChainObserver {
    override fun status(query: ChainQuery): ChainStatus = action(query)
}

/** A [LogSink] of one function. Its exceptions are ignored. */
public fun logSink(action: (LogRecord) -> Unit): LogSink = object : LogSink {
    override fun log(record: LogRecord): Unit = action(record)
}
