import Foundation
import Musig
import XCTest

/// The first vector of BIP-32: an account, and a key below it.
let xprv =
    "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1r"
    + "GL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7"

/// An origin below its master key.
func origin(_ path: UInt32...) -> KeyOrigin {
    KeyOrigin(fingerprint: Data([0x34, 0x42, 0x19, 0x3e]), path: path)
}

let derived = Participant(
    key: "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c", origin: origin(0x8000_0000, 1))

/// Keys of which the first is in a foreign signer; the others sign with their identity keys.
func wallet(_ count: Int) throws -> KeySet {
    KeySet(participants: [derived] + (try keys(count)).dropFirst().map { Participant(key: $0) })
}

/// Messages that these keys sign.
func walletDigests(_ bytes: UInt8...) -> SessionContent {
    .messages(messages: bytes.map { Message(digest: Data(repeating: $0, count: 32), keySet: 1) })
}

/// A Signer in Swift with an account: the arithmetic of a LocalSigner, behind the application's own object.
final class OwnSigner: Signer, @unchecked Sendable {
    enum Behaviour { case normal, slow, refusing, failing, locked }
    struct Mishap: Error {}

    let local: LocalSigner
    let behaviour = Shared(Behaviour.normal)
    let release = DispatchSemaphore(value: 0)
    let waiting = Shared(0)
    let calls = Shared<[String: Int]>([:])
    let hook: Shared<(@Sendable () throws -> Void)?> = Shared(nil)
    /// Which calls the behaviour is for.
    let affected: Set<String>

    init(_ index: Int, affected: Set<String> = ["makeNonces"]) throws {
        local = try localSigner(index)
        try local.addXprv(xprv: xprv, origin: origin(0x8000_0000))
        self.affected = affected
    }

    private func enter(_ name: String) throws {
        calls.with { $0[name, default: 0] += 1 }
        try hook.now?()
        guard affected.contains(name) else { return }
        switch behaviour.now {
        case .normal: break
        case .slow:
            waiting.with { $0 += 1 }
            _ = release.wait(timeout: .now() + patience)
        case .refusing: throw MusigError.SignerFailed(problem: .other, reason: "the device is in a drawer")
        case .failing: throw Mishap()
        case .locked: throw MusigError.SignerFailed(problem: .locked, reason: "no key here")
        }
    }

    func holds(key: SignerKey, origin: KeyOrigin?) throws -> Bool {
        try enter("holds")
        return try local.holds(key: key, origin: origin)
    }

    func makeNonces(request: NonceRequest) throws -> [Data] {
        try enter("makeNonces")
        precondition(request.proposal().signers[Int(request.signer())] == local.publicKey())
        precondition(Set(request.participantKeys()) == [derived.key] && request.participants().allSatisfy { $0 == derived })
        precondition(request.messages().count == request.outputKeys().count && Set(request.keySets()) == [0])
        precondition(request.attempt() < 400 && request.outputKeys().allSatisfy { $0.count == 32 })
        return try local.makeNonces(request: request)
    }

    func makePartials(request: PartialRequest) throws -> [Data] {
        try enter("makePartials")
        precondition(request.proposal().signers[Int(request.signer())] == local.publicKey())
        precondition(Set(request.participantKeys()) == [derived.key] && request.participants().allSatisfy { $0 == derived })
        precondition(request.messages().count == request.outputKeys().count && Set(request.keySets()) == [0])
        precondition(request.aggregateNonces().allSatisfy { $0.count == 66 })
        precondition(request.attempt() < 400 && request.outputKeys().count == request.aggregateNonces().count)
        return try local.makePartials(request: request)
    }

    func forget(session: SessionId, attempt: UInt32) throws {
        try enter("forget")
        try local.forget(session: session, attempt: attempt)
    }
}

final class ForeignSignerTests: MusigTestCase {
    private func pair(_ signer: OwnSigner) async throws -> (node: Node, watchers: [Watcher]) {
        let nodes = [try await start(0, foreignSigner: signer), try await start(1)]
        try await connect(nodes)
        return (nodes[0], nodes.map { watch($0) })
    }

    private var request: SessionRequest {
        get throws { SessionRequest(signers: try keys(2), content: walletDigests(1, 2), keySets: [try wallet(2)]) }
    }

    func testKeySetsOfASignerInSwift() async throws {
        let signer = try OwnSigner(0)
        let (node, watchers) = try await pair(signer)
        let session = try await node.createSession(request: request)
        for watcher in watchers { try await watcher.complete(session.id()) }
        XCTAssertEqual(signer.calls.now["makeNonces"], 1)
        XCTAssertEqual(signer.calls.now["makePartials"], 1)
        // An aborted session's nonces are forgotten.
        signer.behaviour.with { $0 = .refusing }
        let other = try await node.createSession(request: request)
        try await other.abort(reason: "enough")
        try await waitUntil("nonces are forgotten") { signer.calls.now["forget", default: 0] > 0 }
    }

    func testSlow() async throws {
        let signer = try OwnSigner(0)
        signer.behaviour.with { $0 = .slow }
        let (node, watchers) = try await pair(signer)
        let session = try await node.createSession(request: request)
        try await waitUntil("it is asked for nonces") { signer.waiting.now > 0 }
        // Meanwhile the node answers.
        let phase = try await session.status().phase
        XCTAssertEqual(phase, .joined)
        signer.behaviour.with { $0 = .normal }
        signer.release.signal()
        for watcher in watchers { try await watcher.complete(session.id()) }
    }

    func testThrowingIsAnEventAndIsTriedAgain() async throws {
        for behaviour in [OwnSigner.Behaviour.refusing, .failing] {
            let signer = try OwnSigner(0)
            signer.behaviour.with { $0 = behaviour }
            let (node, watchers) = try await pair(signer)
            let session = try await node.createSession(request: request)
            let reason = try await watchers[0].wait("SignerFailed") {
                if case .signerFailed(.other, let reason) = $0 { reason } else { nil }
            }
            XCTAssertTrue(reason.contains(behaviour == .refusing ? "drawer" : "Mishap"), reason)
            signer.behaviour.with { $0 = .normal }
            for watcher in watchers { try await watcher.complete(session.id()) }
            for node in release() { try await node.stop() }
        }
    }

    /// As in a notification extension: the key is out of reach, and what was proposed is shown.
    func testANodeWithoutItsKeyShowsWhatWasProposed() async throws {
        let signer = try OwnSigner(0, affected: ["makeNonces", "makePartials"])
        signer.behaviour.with { $0 = .locked }
        let own = try localSigner(0)
        own.lock()
        let node = try await start(0, offline: true, signer: own, foreignSigner: signer)
        let peer = try await start(1, offline: true)
        let bytes = try await peer.createSession(request: request).exportSession()
        let session = try await node.importSessions(bytes: bytes)[0]
        let proposal = try await watch(node, join: false).wait("SessionProposed") {
            if case .sessionProposed(let proposal, proposer: 1, _) = $0 { proposal } else { nil }
        }
        XCTAssertEqual(proposal.session, session.id())
        await assertThrows({ if case .SignerFailed(.locked, _) = $0 { true } else { false } }) { try await session.join() }
    }

    func testKeySetsThatASignerInSwiftDoesNotHold() async throws {
        let signer = try OwnSigner(0, affected: ["holds"])
        let node = try await start(0, offline: true, foreignSigner: signer)
        let watcher = watch(node)
        func create(_ keySet: KeySet) async throws -> Session {
            try await node.createSession(
                request: SessionRequest(signers: keys(1), content: walletDigests(1), keySets: [keySet]))
        }
        func isMissing(_ error: MusigError, _ key: SignerKey) -> Bool {
            if case .ProposalRefused(.keyNotHeld(key), _) = error { true } else { false }
        }
        // It cannot find its key without the origin. And the identity key signs no session.
        await assertThrows({ isMissing($0, derived.key) }) {
            _ = try await create(KeySet(participants: [Participant(key: derived.key)]))
        }
        let own = try keys(1)[0]
        await assertThrows({ isMissing($0, own) }) {
            _ = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(1)))
        }
        // One that cannot say is not one that says no.
        for (behaviour, words) in [(OwnSigner.Behaviour.refusing, "drawer"), (.failing, "Mishap")] {
            signer.behaviour.with { $0 = behaviour }
            await assertThrows({ if case .SignerFailed(_, let reason) = $0 { reason.contains(words) } else { false } }) {
                _ = try await create(wallet(1))
            }
        }
        signer.behaviour.with { $0 = .normal }
        let session = try await create(wallet(1))
        try await watcher.complete(session.id())
    }
}

/// Says nothing of coins.
private final class Plain: ChainObserver, Sendable {
    func status(query: ChainQuery) throws -> ChainStatus { .unknown }
}

final class ForeignChainTests: MusigTestCase {
    /// Two signers, of which the first is the coordinator; its Broadcaster and ChainObserver are the ones given.
    private func pair(
        _ broadcaster: Chain, _ observer: Chain, seed: UInt8
    ) async throws -> (session: Session, watchers: [Watcher]) {
        let nodes = [
            try await start(0, broadcaster: broadcaster, observer: observer),
            try await start(1, observer: Chain("other")),
        ]
        try await connect(nodes)
        let watchers = nodes.map { watch($0, options: JoinOptions(signBlind: true)) }
        let session = try await nodes[0].createSession(
            request: SessionRequest(
                signers: keys(2), content: transaction(keys(2), seed: seed), electionMethod: .firstSigner,
                broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 3600))))
        return (session, watchers)
    }

    func testNormal() async throws {
        let chain = Chain()
        let (session, watchers) = try await pair(chain, chain, seed: 1)
        _ = try await watchers[0].wait("BroadcastSeen") { if case .broadcastSeen(let txid, _, _) = $0 { txid } else { nil } }
        let txid = try XCTUnwrap(chain.submissions.first)
        chain.mine(txid, depth: 1)
        let depth = try await watchers[0].wait("BroadcastConfirmed") {
            if case .broadcastConfirmed(txid, let depth, _, _) = $0 { depth } else { nil }
        }
        XCTAssertEqual(depth, Depth(height: 100, confirmations: 1))
        let status = try await session.status()
        XCTAssertEqual(status.failover?.evidence, .confirmed(height: 100, confirmations: 1))
    }

    func test_unbroadcast_parent_needs_the_word_of_the_application() async throws {
        let chain = Chain()
        let node = try await start(0, offline: true, observer: chain)
        let request = SessionRequest(signers: try keys(1), content: try transaction(try keys(1), seed: 6))
        chain.state.with { $0.coin = .unknown }
        await assertThrows({
            if case .ConsentRefused(.missingCoin(input: 0, _, spent: false), _) = $0 { true } else { false }
        }) {
            _ = try await node.createSession(request: request)
        }
        chain.state.with { $0.coin = .spent }
        await assertThrows({
            if case .ConsentRefused(.missingCoin(input: 0, _, spent: true), _) = $0 { true } else { false }
        }) {
            _ = try await node.createSession(request: request)
        }
        var allowed = request
        allowed.consent = JoinOptions(allowMissingCoins: true)
        let session = try await node.createSession(request: allowed)
        try await session.join(options: JoinOptions(allowMissingCoins: true))
    }

    func test_lock_time_is_waited_for_as_long_as_the_observer_says() async throws {
        let chain = Chain()
        chain.state.with {
            $0.coin = .unspent(confirmations: 1, medianTime: 5000)
            $0.tip = ChainTip(height: 100, medianTime: 6023)
            $0.early = 1
        }
        let node = try await start(0, offline: true, broadcaster: chain, observer: chain)
        let watcher = watch(node)
        // 1,024 s after the coin's block (BIP-68).
        let content = try transaction(keySet(keys: keys(1)), keyPath(), seed: 10, sequence: 1 << 22 | 2)
        _ = try await node.createSession(
            request: SessionRequest(
                signers: keys(1), content: content,
                broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 1))))
        try await waitUntil("it asked often") { chain.state.now.tips > 8 }
        XCTAssertEqual(chain.state.now.called, 0)
        chain.state.with { $0.tip = ChainTip(height: 101, medianTime: 6024) }
        _ = try await watcher.wait("BroadcastSeen") { if case .broadcastSeen(let txid, _, _) = $0 { txid } else { nil } }
        XCTAssertEqual(chain.submissions.count, 1)
        XCTAssertFalse(watcher.seen.contains { if case .broadcastRejected = $0.event { true } else { false } })
    }

    func test_observer_says_whether_the_chain_is_congested() async throws {
        for congested in [true, false, nil] {
            let chain = Chain()
            chain.state.with { $0.congested = congested }
            let node = try await start(0, offline: true, observer: chain)
            let content = try transaction(try keys(1), seed: 11)
            _ = try await node.createSession(
                request: SessionRequest(
                    signers: keys(1), content: content,
                    broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 1))))
            try await waitUntil("it looked often") { chain.state.now.queries > 3 }
            XCTAssertEqual(chain.state.now.congestions, 1)
            let said = try await node.metricSamples().filter { $0.name == "musig_chain_congested" }.map(\.value)
            XCTAssertEqual(said, [congested == true ? 1 : 0])
        }
    }

    func test_raw_message_over_a_wallet_key_needs_the_word_of_the_application() async throws {
        let node = try await start(0, offline: true)
        let blind = JoinOptions(signBlind: true)
        let message = Message(digest: Data(repeating: 1, count: 32), derivation: keyPath(0, 7))
        var derived = SessionRequest(signers: try keys(1), content: .messages(messages: [message]))
        await assertThrows({
            if case .ConsentRefused(.blindMessage(message: 0, session: nil), _) = $0 { true } else { false }
        }) {
            _ = try await node.createSession(request: derived)
        }
        derived.consent = blind
        try await node.createSession(request: derived).join(options: blind)
        // The same keys, without and with a transaction that they sign.
        var raw = SessionRequest(signers: try keys(1), content: digests(2))
        _ = try await node.createSession(request: raw)
        let wallet = try await node.createSession(
            request: SessionRequest(signers: try keys(1), content: try transaction(try keys(1), seed: 9)))
        await assertThrows({
            if case .ConsentRefused(.blindMessage(message: 0, session: wallet.id()), _) = $0 { true } else { false }
        }) {
            _ = try await node.createSession(request: raw)
        }
        raw.consent = blind
        _ = try await node.createSession(request: raw)
    }

    func test_summary_shows_what_is_signed_and_escapes_hostile_text() async throws {
        let node = try await start(0, offline: true)
        let content = try transaction(try keys(1), seed: 8)
        guard case .transaction(_, let spent, _) = content else { return XCTFail("a transaction") }
        let session = try await node.createSession(
            request: SessionRequest(
                signers: try keys(1), content: content, metadata: Data("\u{1b}[2Jrent\u{202e}".utf8)))
        let options = SummaryOptions(network: .regtest, ownScripts: [spent[0].script])
        let summary = try await session.summary(options: options)
        XCTAssertEqual(summary.session, session.id())
        XCTAssertTrue(summary.text.hasSuffix("\n> \\u{1b}[2Jrent\\u{202e}\n"), summary.text)
        let shown = try XCTUnwrap(summary.transaction)
        XCTAssertEqual(shown.fee, 10_000)
        XCTAssertEqual(shown.lock, .atOnce)
        XCTAssertTrue(shown.inputs[0].own && shown.inputs[0].kind == .session)
        XCTAssertTrue(shown.outputs[0].own && shown.outputs[0].address!.hasPrefix("bcrt1p"))
        XCTAssertEqual(summary.messages[0].finalKey, spent[0].script.suffix(32))
        XCTAssertEqual(summary.warnings, [])
        // A fee bump that pays no more replaces nothing.
        let bump = try await node.createSession(
            request: SessionRequest(signers: try keys(1), content: content, replaces: session.id()))
        let lower = SummaryWarning.lowerFeeRate(
            feeRate: shown.feeRate, replaced: shown.feeRate, session: session.id())
        let bumped = try await bump.summary(options: options)
        XCTAssertTrue(bumped.warnings.contains(lower))
        let blind = try await node.createSession(
            request: SessionRequest(
                signers: try keys(1), content: digests(1), consent: JoinOptions(signBlind: true)))
        let warnings = try await blind.summary(options: SummaryOptions(network: .mainnet)).warnings
        XCTAssertEqual(warnings, [.blind(message: 0)])
    }

    /// An observer that says nothing of coins refuses none.
    func testAnObserverOfTransactionsAloneCannotTell() async throws {
        let node = try await start(0, offline: true, observer: Plain())
        _ = try await node.createSession(
            request: SessionRequest(signers: try keys(1), content: try transaction(try keys(1), seed: 7)))
    }

    func testASlowBroadcasterDelaysNothingElse() async throws {
        let chain = Chain("chain", .slow)
        let (session, watchers) = try await pair(chain, chain, seed: 2)
        try await waitUntil("it is asked to submit") { chain.state.now.called > 0 }
        let phase = try await session.status().phase
        XCTAssertEqual(phase, .watching)
        // Another session of the same node is signed meanwhile.
        let other = try await watchers[0].node.createSession(
            request: SessionRequest(
                signers: keys(2), content: digests(9), consent: JoinOptions(signBlind: true)))
        for watcher in watchers { try await watcher.complete(other.id()) }
        XCTAssertTrue(chain.submissions.isEmpty)
        chain.state.with { $0.behaviour = .normal }
        chain.release.signal()
        try await waitUntil("it is submitted") { !chain.submissions.isEmpty }
    }

    func testABroadcasterThatThrowsLetsTheOthersTakeOver() async throws {
        let chain = Chain("chain", .unreachable)
        let (_, watchers) = try await pair(chain, chain, seed: 3)
        // An hour early.
        let turn = try await watchers[1].wait("its turn") {
            if case .shouldBroadcast(signer: 1, let turn, _, _, _, stored: true) = $0 { turn } else { nil }
        }
        XCTAssertEqual(turn, 1)
        // It goes on trying itself.
        chain.state.with { $0.behaviour = .normal }
        try await waitUntil("it is submitted") { !chain.submissions.isEmpty }
    }

    /// Named `broadcaster_failed` in the other languages.
    func testBroadcasterFailedHasTheWordsOfTheError() async throws {
        let chain = Chain("chain", .unreachable)
        let (session, watchers) = try await pair(chain, chain, seed: 11)
        let (reason, failures) = try await watchers[0].wait("BroadcasterFailed") {
            if case .broadcasterFailed(let reason, let failures) = $0 { (reason, failures) } else { nil }
        }
        XCTAssertTrue(reason.contains("the cable is out"), reason)
        XCTAssertEqual(failures, 1)
        let words = try await watchers[0].wait("Submitted") {
            if case .submitted(.unreachable, let words) = $0 { words } else { nil }
        }
        XCTAssertTrue(words.contains("the cable is out"), words)
        chain.state.with { $0.behaviour = .normal }
        let without = try await watchers[0].wait("an accepted submission") {
            if case .submitted(.accepted, let words) = $0 { words == nil } else { nil }
        }
        XCTAssertTrue(without)
        XCTAssertEqual(session.id().count, 64)
        for node in release() { try await node.stop() }
        let (works, observer) = (Chain(), Chain("observer", .unreachable))
        let (_, others) = try await pair(works, observer, seed: 12)
        let blind = try await others[0].wait("ObserverFailed") {
            if case .observerFailed(let reason, failures: 1) = $0 { reason } else { nil }
        }
        XCTAssertTrue(blind.contains("the cable is out"), blind)
    }

    func testPresetsOfTheTimeoutAreValuesOfThePolicy() {
        let presets: [FailoverPreset] = [.localTest, .lowValue, .standard, .highValue, .satellite]
        XCTAssertEqual(presets.map { failoverPolicy(preset: $0).broadcastTimeout }, [30, 120, 300, 600, 900])
    }

    func testARefusalIsAnEventAndANack() async throws {
        let chain = Chain("chain", .rejecting)
        let (session, watchers) = try await pair(chain, chain, seed: 4)
        let reason = try await watchers[0].wait("BroadcastRejected") {
            if case .broadcastRejected(let reason) = $0 { reason } else { nil }
        }
        XCTAssertEqual(reason, "min relay fee not met")
        // The other one's turn comes an hour early. Once that one cannot either, nobody can.
        _ = try await watchers[1].wait("its turn") {
            if case .shouldBroadcast(signer: 1, let turn, _, _, _, _) = $0 { turn } else { nil }
        }
        try await watchers[1].node.session(id: session.id()).reportBroadcastFailed(reason: "no signal")
        let (accepted, rejected, unreachable, nacks) = try await watchers[0].wait("NobodyCanBroadcast") {
            if case .nobodyCanBroadcast(_, _, let accepted, let rejected, let unreachable, _, let nacks, _, _) = $0 {
                (accepted, rejected, unreachable, nacks)
            } else {
                nil
            }
        }
        XCTAssertTrue(accepted == 0 && rejected >= 1 && unreachable == 0)
        XCTAssertEqual(nacks, [Nack(signer: 0, kind: .rejected), Nack(signer: 1, kind: .unreachable)])
    }

    func testAnObserverThatThrowsOrIsSlowStopsNoBroadcast() async throws {
        for behaviour in [Chain.Behaviour.unreachable, .slow] {
            let (chain, observer) = (Chain(), Chain("observer", behaviour))
            let (_, watchers) = try await pair(chain, observer, seed: 5)
            try await waitUntil("it is submitted") { !chain.submissions.isEmpty }
            try await waitUntil("the observer is asked") { observer.state.now.queries > 0 }
            let txid = chain.submissions[0]
            observer.state.with { state in
                state.behaviour = .normal
                state.depth[txid] = 1
            }
            for _ in 0..<100 { observer.release.signal() }
            _ = try await watchers[0].wait("BroadcastConfirmed") {
                if case .broadcastConfirmed(let txid, _, _, _) = $0 { txid } else { nil }
            }
            for node in release() { try await node.stop() }
        }
    }
}
