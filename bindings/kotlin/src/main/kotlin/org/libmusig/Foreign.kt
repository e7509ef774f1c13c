package org.libmusig

import org.libmusig.ffi.Broadcaster
import org.libmusig.ffi.ChainObserver
import org.libmusig.ffi.ChainQuery
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.ChainTip
import org.libmusig.ffi.CoinStatus
import org.libmusig.ffi.LogRecord
import org.libmusig.ffi.LogSink
import org.libmusig.ffi.OutPoint
import org.libmusig.ffi.SignedTransaction
import org.libmusig.ffi.SubmitOutcome

/** A [Broadcaster] of one function. Any exception means that the Bitcoin backend cannot be reached. */
public fun broadcaster(action: (SignedTransaction) -> SubmitOutcome): Broadcaster = object : Broadcaster {
    override fun submit(transaction: SignedTransaction): SubmitOutcome = action(transaction)
}

/** A [ChainObserver] that looks transactions up, and cannot tell of anything else unless it says so. */
public abstract class TransactionObserver : ChainObserver {
    override fun coin(outpoint: OutPoint): CoinStatus? = null

    override fun tip(): ChainTip? = null

    override fun congested(): Boolean? = null
}

/**
 * A [ChainObserver] of functions; without [coin] it cannot tell of outputs, without [tip] not of the last block, without
 * [congested] not whether the chain is congested. Any exception means that the Bitcoin backend cannot be reached.
 */
public fun chainObserver(
    coin: (OutPoint) -> CoinStatus? = { null },
    tip: () -> ChainTip? = { null },
    congested: () -> Boolean? = { null },
    status: (ChainQuery) -> ChainStatus,
): ChainObserver = object : ChainObserver {
    override fun status(query: ChainQuery): ChainStatus = status.invoke(query)

    override fun coin(outpoint: OutPoint): CoinStatus? = coin.invoke(outpoint)

    override fun tip(): ChainTip? = tip.invoke()

    override fun congested(): Boolean? = congested.invoke()
}

/** A [LogSink] of one function. Its exceptions are ignored. */
public fun logSink(action: (LogRecord) -> Unit): LogSink = object : LogSink {
    override fun log(record: LogRecord): Unit = action(record)
}
