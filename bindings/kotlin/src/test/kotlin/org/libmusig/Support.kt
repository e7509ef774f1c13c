package org.libmusig

import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.withTimeout
import org.libmusig.ffi.Broadcast
import org.libmusig.ffi.Broadcaster
import org.libmusig.ffi.ChainObserver
import org.libmusig.ffi.ChainQuery
import org.libmusig.ffi.ChainStatus
import org.libmusig.ffi.Derivation
import org.libmusig.ffi.Event
import org.libmusig.ffi.FailoverPolicy
import org.libmusig.ffi.JoinOptions
import org.libmusig.ffi.KeySet
import org.libmusig.ffi.LocalSigner
import org.libmusig.ffi.Message
import org.libmusig.ffi.NodeConfig
import org.libmusig.ffi.Session
import org.libmusig.ffi.SessionContent
import org.libmusig.ffi.SessionRequest
import org.libmusig.ffi.SighashType
import org.libmusig.ffi.SignedTransaction
import org.libmusig.ffi.SpentOutput
import org.libmusig.ffi.StoreChoice
import org.libmusig.ffi.SubmitOutcome
import org.libmusig.ffi.Taproot
import org.libmusig.ffi.finalKey
import org.libmusig.ffi.keySet
import java.time.Duration
import java.util.concurrent.CopyOnWriteArrayList

/** How long anything may take before a test gives up on it. */
const val PATIENCE: Long = 30_000

/** The secret key of a test signer. */
fun secret(index: Int): ByteArray = ByteArray(32) { 0x11 }.also { it[31] = (index + 1).toByte() }

fun signer(index: Int): LocalSigner = LocalSigner(secret(index))

/** The public keys of n test signers. */
fun keys(n: Int): List<String> = List(n) { index -> signer(index).use { it.publicKey() } }

val String.bytes: ByteArray get() = chunked(2).map { it.toInt(16).toByte() }.toByteArray()

val ByteArray.hex: String get() = joinToString("") { "%02x".format(it) }

/** On loopback, in memory, and the application looks at the chain. */
fun config(
    store: StoreChoice = StoreChoice.Memory,
    offline: Boolean = false,
    withoutObserver: Boolean = true,
    finalDepth: UInt? = null,
): NodeConfig = NodeConfig(
    store = store,
    listen = if (offline) emptyList() else listOf("/ip4/127.0.0.1/tcp/0"),
    offline = offline,
    withoutObserver = withoutObserver,
    finalDepth = finalDepth,
)

/** Waits until a condition holds. */
suspend fun eventually(what: String, condition: suspend () -> Boolean) {
    val end = System.nanoTime() + PATIENCE * 1_000_000
    while (!condition()) {
        check(System.nanoTime() < end) { "waited too long until $what" }
        delay(5)
    }
}

/** Connects all with all. */
suspend fun connect(nodes: List<MusigNode>) {
    for ((index, node) in nodes.withIndex()) {
        eventually("it listens") { node.listenAddresses().isNotEmpty() }
        for (earlier in nodes.take(index)) node.addPeer(earlier.listenAddresses().first())
    }
    // Whoever was dialled learns who is there, and shows itself to whom it is told of.
    for ((index, node) in nodes.withIndex()) {
        eventually("it is dialled") { node.connectedSigners().size >= nodes.size - 1 - index }
        for (later in nodes.drop(index + 1)) node.addPeer(later.listenAddresses().first())
    }
    for (node in nodes) eventually("all are connected") { node.connectedSigners().size == nodes.size - 1 }
}

/** Takes events, acknowledging all, until one fits. */
suspend fun MusigNode.await(fits: (ReceivedEvent) -> Boolean): ReceivedEvent {
    val seen = mutableListOf<Event>()
    return try {
        withTimeout(PATIENCE) {
            events().first {
                seen += it.event
                it.ack()
                fits(it)
            }
        }
    } catch (failure: Exception) {
        throw AssertionError("it did not come; these came: $seen", failure)
    }
}

/** Waits for an event of a type. */
suspend inline fun <reified E : Event> MusigNode.await(): E = await { it.event is E }.event as E

/** Waits for somebody's proposal, and consents. */
suspend fun MusigNode.joinNext(options: JoinOptions? = null): Session =
    session(await { it.event is Event.SessionProposed }.session!!).also { it.join(options) }

/** A session over one message. */
fun messageRequest(signers: List<String>, byte: Int = 7): SessionRequest =
    SessionRequest(signers, SessionContent.Messages(listOf(Message(ByteArray(32) { byte.toByte() }))))

/** What makes the key of an output without scripts. */
fun keyPath(vararg path: UInt): Derivation = Derivation(path.toList(), Taproot.KeyPath)

/** An output of a key of the signers, and a transaction that spends it. */
class Spend(
    keySet: KeySet,
    private val seed: Int = 1,
    derivation: Derivation = keyPath(),
    private val sequence: String = "ffffffff",
) {
    constructor(signers: List<String>, seed: Int = 1) : this(keySet(signers), seed)

    private val outputKey: String = finalKey(keySet, derivation).drop(2)
    private val script: ByteArray = byteArrayOf(0x51, 0x20) + outputKey.bytes

    /** Version 2, one input, one output. */
    private val unsigned: ByteArray = (
        "02000000" + "01" + "%02x".format(seed).repeat(32) + "00000000" + "00" + sequence +
            "01" + "1027000000000000" + "22" + script.hex + "00000000"
        ).bytes

    val content: SessionContent =
        SessionContent.Transaction(unsigned, listOf(SpentOutput(11_000uL, script)), SighashType.DEFAULT)
}

/** A session over a transaction whose turns last one second. */
fun spendRequest(signers: List<String>, seed: Int = 1, turn: Duration = Duration.ofSeconds(1)): SessionRequest =
    SessionRequest(
        signers,
        Spend(signers, seed).content,
        broadcast = Broadcast.Failover(FailoverPolicy(broadcastTimeout = turn)),
    )

/** A mempool that all nodes of a test look at. */
class Chain : TransactionObserver() {
    val submissions = CopyOnWriteArrayList<Pair<String, SignedTransaction>>()

    @Volatile
    var confirmations: UInt = 0u

    /** The way to it of one node. */
    fun of(name: String): Broadcaster = broadcaster {
        submissions += name to it
        SubmitOutcome.Accepted
    }

    override fun status(query: ChainQuery): ChainStatus = when {
        submissions.none { it.second.txid == query.txid } -> ChainStatus.Unknown
        confirmations == 0u -> ChainStatus.Seen
        else -> ChainStatus.Confirmed(100u, confirmations)
    }
}

/** All nodes sign what the first one proposes. */
suspend fun sign(nodes: List<MusigNode>, request: SessionRequest): List<Session> = coroutineScope {
    val first = nodes.first().createSession(request)
    listOf(first) + nodes.drop(1).map { async { it.joinNext(request.consent) } }.awaitAll()
}

/** Stops all, each in its turn, and frees them. */
suspend fun closeAll(nodes: List<MusigNode>) {
    for (node in nodes) {
        node.stop()
        node.close()
    }
}

/** Waits for an event of a type, and acknowledges nothing. */
suspend inline fun <reified E : Event> MusigNode.awaitUnacknowledged(): ReceivedEvent =
    withTimeout(PATIENCE) { events().first { it.event is E } }

/** Signer indices in the order of the lexicographic election. */
fun signerKeysByRank(n: Int): List<Int> = keys(n).withIndex().sortedBy { it.value }.map { it.index }

/** What a block throws. */
suspend inline fun <reified E : Throwable> thrown(block: suspend () -> Unit): E {
    try {
        block()
    } catch (failure: Throwable) {
        if (failure is E) return failure
        throw failure
    }
    throw AssertionError("it threw nothing, rather than ${E::class.simpleName}")
}
