package org.libmusig

import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.ChainTip
import org.libmusig.ffi.CoinStatus
import org.libmusig.ffi.ConsentProblem
import org.libmusig.ffi.Event
import org.libmusig.ffi.FailoverPreset
import org.libmusig.ffi.JoinOptions
import org.libmusig.ffi.KeyOrigin
import org.libmusig.ffi.KeySet
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.LogLevel
import org.libmusig.ffi.Message
import org.libmusig.ffi.MusigException
import org.libmusig.ffi.Nack
import org.libmusig.ffi.NackKind
import org.libmusig.ffi.NonceRequest
import org.libmusig.ffi.PartialRequest
import org.libmusig.ffi.Participant
import org.libmusig.ffi.ProposalProblem
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.Signer
import org.libmusig.ffi.SignerProblem
import org.libmusig.ffi.Submission
import org.libmusig.ffi.SubmitOutcome
import org.libmusig.ffi.failoverPolicy
import org.libmusig.ffi.keySet
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.atomic.AtomicReference

/** The first vector of BIP-32: an account, and a key below it. */
const val XPRV: String =
    "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1r" +
        "GL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7"

/** An origin below its master key. */
fun origin(vararg path: UInt): KeyOrigin = KeyOrigin(byteArrayOf(0x34, 0x42, 0x19, 0x3e), path.toList())

val derived: Participant = Participant(
    "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c",
    origin(0x8000_0000u, 1u),
)

/** Keys of which the first is in a foreign signer; the others sign with their identity keys. */
fun wallet(n: Int): KeySet = KeySet(listOf(derived) + keys(n).drop(1).map { Participant(it) })

/** A session over a message that these keys sign. */
fun walletRequest(n: Int, keySet: KeySet = wallet(n)): SessionRequest =
    SessionRequest(
        keys(n),
        SessionContent.Messages(listOf(Message(ByteArray(32) { 7 }, keySet = 1u))),
        keySets = listOf(keySet),
    )

/** A signer in Kotlin with an account, which leaves the arithmetic to a local one. */
open class KotlinSigner(private val inner: LocalSigner) : Signer {
    init {
        inner.addXprv(XPRV, origin(0x8000_0000u))
    }

    val calls = CopyOnWriteArrayList<String>()
    override fun holds(key: String, origin: KeyOrigin?): Boolean = inner.holds(key, origin)
    override fun makeNonces(request: NonceRequest): List<ByteArray> = request.use {
        check(it.messages() == listOf(0u) && it.keySets() == listOf(0u) && it.outputKeys().size == 1)
        check(it.proposal().keySets[0].participants[it.signer().toInt()].key == derived.key)
        check(it.participantKeys() == listOf(derived.key) && it.participants().single().origin!!.path == derived.origin!!.path)
        calls += "nonces of signer ${it.signer()} for attempt ${it.attempt()}"
        inner.makeNonces(it)
    }
    override fun makePartials(request: PartialRequest): List<ByteArray> = request.use {
        check(it.messages() == listOf(0u) && it.keySets() == listOf(0u) && it.outputKeys().size == 1)
        check(it.proposal().keySets[0].participants[it.signer().toInt()].key == derived.key)
        check(it.participantKeys() == listOf(derived.key) && it.participants().single().origin!!.path == derived.origin!!.path)
        check(it.aggregateNonces().single().size == 66)
        calls += "partials of signer ${it.signer()} for attempt ${it.attempt()}"
        inner.makePartials(it)
    }
    override fun forget(session: String, attempt: UInt): Unit = inner.forget(session, attempt)
}

class ForeignTest {
    /** A node of the only signer, and a session that it finishes alone. */
    private suspend fun alone(
        way: ((org.libmusig.ffi.SignedTransaction) -> SubmitOutcome)?,
        look: ((org.libmusig.ffi.ChainQuery) -> ChainStatus)?,
    ): MusigNode {
        val node = MusigNode.start(
            config(offline = true, withoutObserver = look == null),
            signer(0),
            way?.let(::broadcaster),
            look?.let { chainObserver(status = it) },
        )
        node.createSession(spendRequest(keys(1))).close()
        return node
    }

    @Test
    fun `unbroadcast_parent needs the word of the application`() = runBlocking {
        var coin: CoinStatus? = CoinStatus.Unknown
        val observer = chainObserver(coin = { check(it.vout == 0u); coin }) { ChainStatus.Unknown }
        val node = MusigNode.start(config(offline = true, withoutObserver = false), signer(0), null, observer)
        val unknown = thrown<MusigException.ConsentRefused> { node.createSession(spendRequest(keys(1))) }
        val problem = unknown.problem as ConsentProblem.MissingCoin
        assertEquals(listOf(0u, false), listOf(problem.input, problem.spent))
        coin = CoinStatus.Spent
        val spent = thrown<MusigException.ConsentRefused> { node.createSession(spendRequest(keys(1))) }
        assertTrue((spent.problem as ConsentProblem.MissingCoin).spent)
        val allowed = JoinOptions(allowMissingCoins = true)
        val session = node.createSession(spendRequest(keys(1)).copy(consent = allowed))
        session.use { it.join(allowed) }
        for ((seed, answer) in listOf(null, CoinStatus.InMempool, CoinStatus.Unspent(1u)).withIndex()) {
            coin = answer
            node.createSession(spendRequest(keys(1), seed + 2)).close()
        }
        closeAll(listOf(node))
    }

    @Test
    fun `lock_time is waited for as long as the observer says`() = runBlocking {
        val asked = AtomicInteger()
        val submitted = AtomicInteger()
        val told = AtomicInteger()
        val medianTime = AtomicInteger(6023)
        val observer = chainObserver(
            coin = { CoinStatus.Unspent(1u, 5000u) },
            tip = {
                asked.incrementAndGet()
                ChainTip(100u, medianTime.get().toUInt())
            },
        ) { if (submitted.get() > 0) ChainStatus.Seen else ChainStatus.Unknown }
        val way = broadcaster {
            if (told.incrementAndGet() == 1) {
                SubmitOutcome.NotYetFinal
            } else {
                submitted.incrementAndGet()
                SubmitOutcome.Accepted
            }
        }
        val node = MusigNode.start(config(offline = true, withoutObserver = false), signer(0), way, observer)
        // 1,024 s after the coin's block (BIP-68).
        val locked = Spend(keySet(keys(1)), sequence = "02004000").content
        node.createSession(spendRequest(keys(1)).copy(content = locked)).close()
        withTimeout(60_000) { while (asked.get() < 8) delay(10) }
        assertEquals(0, told.get())
        medianTime.set(6024)
        val seen = node.await { it.event is Event.BroadcastSeen || it.event is Event.BroadcastRejected }
        assertTrue(seen.event is Event.BroadcastSeen)
        assertEquals(listOf(1, 2), listOf(submitted.get(), told.get()))
        closeAll(listOf(node))
    }

    @Test
    fun `observer says whether the chain is congested`() = runBlocking {
        for (says in listOf(true, false, null)) {
            val (asked, looks) = List(2) { AtomicInteger() }
            val observer = chainObserver(congested = {
                asked.incrementAndGet()
                says
            }) {
                looks.incrementAndGet()
                ChainStatus.Unknown
            }
            val node = MusigNode.start(config(offline = true, withoutObserver = false), signer(0), null, observer)
            node.createSession(spendRequest(keys(1))).close()
            withTimeout(60_000) { while (looks.get() < 4) delay(10) }
            assertEquals(1, asked.get())
            val sample = node.metricSamples().single { it.name == "musig_chain_congested" }
            assertEquals(if (says == true) 1uL else 0uL, sample.value)
            closeAll(listOf(node))
        }
    }

    @Test
    fun `raw_message_over_a_wallet_key needs the word of the application`() = runBlocking {
        val node = MusigNode.start(config(offline = true), signer(0))
        val blind = JoinOptions(signBlind = true)
        suspend fun problem(request: SessionRequest) =
            thrown<MusigException.ConsentRefused> { node.createSession(request) }.problem
        val message = Message(ByteArray(32) { 1 }, derivation = keyPath(0u, 7u))
        val derived = SessionRequest(keys(1), SessionContent.Messages(listOf(message)))
        assertEquals(ConsentProblem.BlindMessage(0u, null), problem(derived))
        node.createSession(derived.copy(consent = blind)).use { it.join(blind) }
        // The same keys, without and with a transaction that they sign.
        val raw = messageRequest(keys(1))
        node.createSession(raw).close()
        node.createSession(spendRequest(keys(1))).use { wallet ->
            assertEquals(ConsentProblem.BlindMessage(0u, wallet.id()), problem(raw))
        }
        node.createSession(raw.copy(consent = blind)).close()
        closeAll(listOf(node))
    }

    @Test
    fun `an observer of transactions alone cannot tell of coins`() = runBlocking {
        val node = MusigNode.start(config(offline = true, withoutObserver = false), signer(0), null, Chain())
        node.createSession(spendRequest(keys(1))).close()
        closeAll(listOf(node))
    }

    @Test
    fun `a broadcaster that throws is asked again`() = runBlocking {
        val calls = AtomicInteger()
        val node = alone(
            way = {
                when (calls.incrementAndGet()) {
                    1 -> throw IllegalStateException("no network")
                    2 -> throw MusigException.ChainUnreachable("still none")
                    else -> SubmitOutcome.Accepted
                }
            },
            look = { if (calls.get() < 3) ChainStatus.Unknown else ChainStatus.Seen },
        )
        node.await<Event.BroadcastSeen>()
        assertTrue(calls.get() >= 3)
        closeAll(listOf(node))
    }

    @Test
    fun `broadcaster_failed has the words of the exception`() = runBlocking {
        val calls = AtomicInteger()
        val told = mutableMapOf<String, String>()
        val node = alone(
            way = {
                if (calls.incrementAndGet() == 1) throw IllegalStateException("no field 'height'")
                SubmitOutcome.Accepted
            },
            look = { ChainStatus.Unknown },
        )
        val first = node.await<Event.Submitted>()
        assertEquals(Submission.UNREACHABLE, first.outcome)
        assertTrue("no field 'height'" in first.words!!, first.words)
        assertEquals(Event.Submitted(Submission.ACCEPTED, null), node.await<Event.Submitted>())
        closeAll(listOf(node))
        for (kind in listOf("broadcaster", "observer")) {
            val broken = alone(
                way = { if (kind == "broadcaster") throw IllegalStateException("no field 'height'") else SubmitOutcome.Accepted },
                look = { if (kind == "observer") throw NumberFormatException("for input 'x'") else ChainStatus.Unknown },
            )
            val (reason, failures) = when (kind) {
                "broadcaster" -> broken.await<Event.BroadcasterFailed>().let { it.reason to it.failures }
                else -> broken.await<Event.ObserverFailed>().let { it.reason to it.failures }
            }
            assertEquals(1uL, failures)
            told[kind] = reason
            closeAll(listOf(broken))
        }
        assertTrue("no field 'height'" in told["broadcaster"]!!, "$told")
        assertTrue("for input 'x'" in told["observer"]!!, "$told")
    }

    @Test
    fun `presets of the timeout are values of the policy`() {
        val seconds = FailoverPreset.entries.map { failoverPolicy(it).broadcastTimeout!!.seconds }
        assertEquals(listOf(30L, 120L, 300L, 600L, 900L), seconds)
    }

    @Test
    fun `a refusal is an event with the words of the broadcaster`() = runBlocking {
        val node = alone(way = { SubmitOutcome.Rejected("min relay fee not met") }, look = { ChainStatus.Unknown })
        assertEquals("min relay fee not met", node.await<Event.BroadcastRejected>().reason)
        // It is a NACK, and there is no other signer.
        val nobody = node.await<Event.NobodyCanBroadcast>()
        assertEquals(listOf(Nack(0u, NackKind.REJECTED)), nobody.nacks)
        assertEquals(listOf(1u, 0u, 0u), listOf(nobody.turns, nobody.accepted, nobody.unreachable))
        assertTrue(nobody.rejected >= 1u && nobody.rejection == "min relay fee not met")
        closeAll(listOf(node))
    }

    @Test
    fun `a failing broadcaster makes the next signer take over at once`() = runBlocking {
        val chain = Chain()
        val elected = signerKeysByRank(2)
        val nodes = List(2) { index ->
            val way = if (index == elected[0]) broadcaster { throw RuntimeException("no network") } else chain.of("$index")
            MusigNode.start(config(withoutObserver = false), signer(index), way, chain)
        }
        connect(nodes)
        // A turn is far longer than the test's patience.
        sign(nodes, spendRequest(keys(2), turn = java.time.Duration.ofHours(1))).forEach { it.close() }
        assertEquals(listOf(elected[0].toUInt()), nodes[elected[1]].await<Event.CoordinatorFailed>().failed)
        nodes[elected[1]].await<Event.BroadcastSeen>()
        assertEquals("${elected[1]}", chain.submissions.first().first)
        closeAll(nodes)
    }

    @Test
    fun `slow objects delay nobody else`() = runBlocking {
        val entered = CountDownLatch(2)
        val release = CountDownLatch(1)
        val slow = {
            entered.countDown()
            release.await(PATIENCE, TimeUnit.MILLISECONDS)
        }
        val submitted = AtomicInteger()
        val node = alone(
            way = { slow(); submitted.incrementAndGet(); SubmitOutcome.Accepted },
            look = { slow(); if (submitted.get() == 0) ChainStatus.Unknown else ChainStatus.Seen },
        )
        node.await<Event.SessionComplete>()
        assertTrue(entered.await(PATIENCE, TimeUnit.MILLISECONDS))
        // Both hang now. The node answers, and finishes another session.
        withTimeout(5_000) {
            node.metrics()
            node.createSession(messageRequest(keys(1)).copy(consent = JoinOptions(signBlind = true))).use { session ->
                val complete = node.await { it.event is Event.SessionComplete && it.session == session.id() }
                assertEquals(session.id(), complete.session)
            }
        }
        release.countDown()
        node.await<Event.BroadcastSeen>()
        closeAll(listOf(node))
    }

    @Test
    fun `an observer that throws is asked again`() = runBlocking {
        val looks = AtomicInteger()
        val node = alone(
            way = { SubmitOutcome.Accepted },
            look = {
                when (looks.incrementAndGet()) {
                    1 -> throw IllegalArgumentException("no view")
                    2 -> throw MusigException.ChainUnreachable("no view")
                    else -> ChainStatus.Confirmed(7u, 6u)
                }
            },
        )
        val confirmed = node.await<Event.BroadcastConfirmed>()
        assertEquals(7u, confirmed.depth!!.height)
        closeAll(listOf(node))
    }

    @Test
    fun `an observer reports a conflict`() = runBlocking {
        val other = "ab".repeat(32)
        val node = alone(way = null, look = { ChainStatus.Conflict(other, 1u) })
        assertEquals(other, node.await<Event.BroadcastConflict>().txid)
        closeAll(listOf(node))
    }

    @Test
    fun `key sets of a signer in Kotlin`() = runBlocking {
        val foreign = object : KotlinSigner(signer(0)) {
            override fun makePartials(request: PartialRequest): List<ByteArray> {
                Thread.sleep(300)
                return super.makePartials(request)
            }
        }
        val nodes = listOf(
            MusigNode.start(config(), signer(0), foreignSigner = foreign),
            MusigNode.start(config(), signer(1)),
        )
        connect(nodes)
        sign(nodes, walletRequest(2)).forEach { it.close() }
        for (node in nodes) node.await<Event.SessionComplete>()
        assertEquals(listOf("nonces of signer 0 for attempt 0", "partials of signer 0 for attempt 0"), foreign.calls)
        closeAll(nodes)
    }

    @Test
    fun `a signer that throws is reported and asked again`() = runBlocking {
        val failures = AtomicReference<Exception?>(MusigException.SignerFailed(SignerProblem.Locked, "it sleeps"))
        val foreign = object : KotlinSigner(signer(0)) {
            override fun makeNonces(request: NonceRequest): List<ByteArray> {
                failures.get()?.let { throw it }
                return super.makeNonces(request)
            }
        }
        val node = MusigNode.start(config(offline = true), signer(0), foreignSigner = foreign)
        node.createSession(walletRequest(1)).use { session ->
            assertEquals(SignerProblem.Locked, node.await<Event.SignerFailed>().problem)
            failures.set(null)
            // Consent, given again, is what wakes it.
            session.join()
            node.await<Event.SessionComplete>()
        }
        closeAll(listOf(node))
    }

    @Test
    fun `key sets that a signer in Kotlin does not hold`() = runBlocking {
        val failures = AtomicReference<Exception?>(null)
        val foreign = object : KotlinSigner(signer(0)) {
            override fun holds(key: String, origin: KeyOrigin?): Boolean {
                failures.getAndSet(null)?.let { throw it }
                return super.holds(key, origin)
            }
        }
        val node = MusigNode.start(config(offline = true), signer(0), foreignSigner = foreign)
        // It cannot find its key without the origin. And the identity key signs no session.
        val lost = walletRequest(1, KeySet(listOf(Participant(derived.key))))
        for ((request, key) in listOf(lost to derived.key, messageRequest(keys(1)) to keys(1)[0])) {
            val refused = thrown<MusigException.ProposalRefused> { node.createSession(request) }
            assertEquals(ProposalProblem.KeyNotHeld(key), refused.problem)
        }
        // One that cannot say is not one that says no.
        failures.set(MusigException.SignerFailed(SignerProblem.Locked, "it sleeps"))
        val locked = thrown<MusigException.SignerFailed> { node.createSession(walletRequest(1)) }
        assertEquals(SignerProblem.Locked, locked.problem)
        failures.set(UnsupportedOperationException("no such device"))
        val failed = thrown<MusigException.SignerFailed> { node.createSession(walletRequest(1)) }
        assertTrue("no such device" in failed.reason, failed.reason)
        node.createSession(walletRequest(1)).close()
        node.await<Event.SessionComplete>()
        closeAll(listOf(node))
    }

    @Test
    fun `every foreign object may call the node`() = runBlocking {
        val here = AtomicReference<MusigNode>()
        val called = CopyOnWriteArrayList<String>()
        fun callBack(from: String) {
            val node = here.get() ?: return
            runBlocking { node.metrics() }
            node.signerKey()
            called += from
        }
        val held = object : KotlinSigner(signer(0)) {
            override fun makeNonces(request: NonceRequest): List<ByteArray> {
                callBack("nonces")
                return super.makeNonces(request)
            }
            override fun makePartials(request: PartialRequest): List<ByteArray> {
                callBack("partials")
                return super.makePartials(request)
            }
            override fun holds(key: String, origin: KeyOrigin?): Boolean {
                callBack("holds")
                return super.holds(key, origin)
            }
            override fun forget(session: String, attempt: UInt) {
                callBack("forget")
                super.forget(session, attempt)
            }
        }
        val submitted = AtomicInteger()
        val node = MusigNode.start(
            config(offline = true, withoutObserver = false).copy(logLevel = LogLevel.TRACE),
            signer(0),
            broadcaster { callBack("submit"); submitted.incrementAndGet(); SubmitOutcome.Accepted },
            chainObserver { callBack("status"); if (submitted.get() == 0) ChainStatus.Unknown else ChainStatus.Seen },
            logSink { if ("log" !in called) callBack("log") },
            held,
        )
        here.set(node)
        val coin = Spend(wallet(1)).content
        node.createSession(SessionRequest(keys(1), coin, keySets = listOf(wallet(1)))).use { session ->
            node.await<Event.BroadcastSeen>()
            session.abandonSession()
        }
        // What is known of a lane that was not called is nothing, so each must have been.
        eventually("all called back") { called.containsAll(listOf("nonces", "partials", "holds", "submit", "status")) }
        closeAll(listOf(node))
        here.set(null)
    }

    @Test
    fun `a broadcaster may ask its node to stop`() = runBlocking {
        val here = AtomicReference<MusigNode>()
        val node = MusigNode.start(
            config(offline = true, withoutObserver = false),
            signer(0),
            broadcaster { here.get().requestStop(); SubmitOutcome.Accepted },
            chainObserver { ChainStatus.Unknown },
        )
        here.set(node)
        node.createSession(spendRequest(keys(1))).close()
        withTimeout(PATIENCE) { node.handleEvents { } }
        assertThrows(MusigException.NodeStopped::class.java) { runBlocking { node.metrics() } }
        closeAll(listOf(node))
    }
}
