import Foundation
import Musig
import XCTest

final class SigningTests: MusigTestCase {
    private final class Sink: LogSink {
        let records = Shared<[LogRecord]>([])
        func log(record: LogRecord) throws {
            records.with { $0.append(record) }
        }
    }

    func testThreeOfThreeSignMessagesOverTheNetwork() async throws {
        let sink = Sink()
        var nodes: [Node] = []
        for index in 0..<3 {
            nodes.append(try await start(index, logSink: index == 0 ? sink : nil) { $0.logLevel = .debug })
        }
        try await connect(nodes)
        let watchers = nodes.map { watch($0) }
        let session = try await nodes[0].createSession(
            request: SessionRequest(
                signers: keys(3), content: digests(7, 8), electionMethod: .lastSigner,
                broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 60)), expiresIn: 3600, metadata: Data("rent".utf8)))
        var all: [[Data]] = []
        for watcher in watchers { all.append(try await watcher.complete(session.id())) }
        XCTAssertEqual(all[0].count, 2)
        XCTAssertTrue(all[0].allSatisfy { $0.count == 64 })
        XCTAssertEqual(all[0], all[1])
        XCTAssertEqual(all[0], all[2])

        let election = try await session.election()
        XCTAssertEqual(election.coordinator, 2)
        let priorityList = try await session.priorityList()
        XCTAssertEqual(priorityList, [2, 1, 0])
        let elected = try nodes[2].session(id: session.id())
        let flags = try await (
            session.isCoordinator(), elected.isCoordinator(), session.isCurrentCoordinator(),
            elected.isCurrentCoordinator()
        )
        XCTAssertTrue(flags == (false, true, false, true), "\(flags)")
        let coordinator = try await session.coordinatorPeerId()
        XCTAssertEqual(coordinator, nodes[2].peerId())
        XCTAssertEqual(nodes[1].signerKey(), try keys(2)[1])
        let connected = try await nodes[0].connectedSigners()
        XCTAssertEqual(connected.sorted(), try keys(3).dropFirst().sorted())

        let proposal = try await elected.proposal()
        XCTAssertEqual(proposal.metadata, Data("rent".utf8))
        let policy = FailoverPolicy(broadcastTimeout: 60, tiers: .single)
        XCTAssertEqual(proposal.broadcast, .failover(policy: policy))
        XCTAssertEqual(try decodeProposal(encoded: proposal.encoded), proposal)
        let status = try await session.status()
        XCTAssertEqual(status.phase, .watching)
        XCTAssertEqual(status.failover?.current, [2])
        XCTAssertTrue(status.partialSent)
        let sessions = try await nodes[1].sessions()
        XCTAssertEqual(sessions.map(\.session), [session.id()])
        let none = try await session.finalTransaction()
        XCTAssertNil(none)

        let metrics = try await nodes[0].metrics()
        XCTAssertEqual(metrics.sessions, 1)
        XCTAssertGreaterThan(metrics.framesSent, 0)
        // Nobody listens there.
        try await nodes[0].addPeer(address: "/ip4/127.0.0.1/tcp/9")
        try await waitUntil("the failed dial is in the log") {
            sink.records.now.contains { $0.level == .debug && $0.text.contains("dial failed") }
        }
        try await waitUntil("the session is in the log, with its time") {
            sink.records.now.contains {
                $0.target == "libmusig::session" && $0.level == .info && $0.session == session.id()
                    && $0.time > Date(timeIntervalSince1970: 1_700_000_000) && $0.dropped == 0
            }
        }

        // Without an observer the application says that it is broadcast: the watch ends.
        try await elected.notifyBroadcastComplete()
        _ = try await watchers[2].wait("the end of the watch") {
            if case .broadcastConfirmed = $0 { true } else { nil }
        }
        try await elected.closeSession()
        let closed = try await elected.status().phase
        XCTAssertEqual(closed, .closed)
    }

    func testCloseWhileWatchingIsRefusedAndAbandoningTakesNoTurn() async throws {
        let node = try await start(0, offline: true)
        let watcher = watch(node)
        let session = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(1)))
        try await watcher.complete(session.id())
        let id = session.id()
        await assertThrows({
            if case .NotSettled(session: id, complete: true, let reason) = $0 { $0.isRetryable && reason.contains("abandon_session()") } else { false }
        }) {
            try await session.closeSession()
        }
        let watching = try await session.status().phase
        XCTAssertEqual(watching, .watching)
        try await session.abandonSession()
        try await session.closeSession()
        let closed = try await (session.status().phase, session.isCurrentCoordinator())
        XCTAssertTrue(closed == (.closed, false), "\(closed)")
    }

    func testUnreachablePeerAndWhatIsKnownOfMissingSigners() async throws {
        let node = try await start(0) {
            $0.peers = ["/ip4/127.0.0.1/tcp/1"]
            $0.stallAfter = 0.1
        }
        let watcher = watch(node)
        let (signer, cause, next) = try await watcher.wait("an unreachable peer") {
            if case let .peerUnreachable("/ip4/127.0.0.1/tcp/1", signer, cause, next) = $0 { (signer, cause, next) } else { nil }
        }
        XCTAssertNil(signer)
        XCTAssertTrue(cause.contains("refused"), cause)
        XCTAssertNotNil(next)
        let session = try await node.createSession(
            request: SessionRequest(signers: keys(2), content: digests(7)))
        let missing = try await watcher.wait("a stalled session") {
            if case let .sessionStalled(missing, signers, _) = $0, missing == [1] { signers } else { nil }
        }
        XCTAssertEqual(missing.map(\.signer), [1])
        let signers = try await session.status().signers
        XCTAssertTrue(signers[0].connected && signers[0].consented && signers[0].lastSeen != nil)
        XCTAssertTrue(!signers[1].connected && !signers[1].consented && signers[1].lastSeen == nil)
    }

    func test_clock_skew_is_an_event_with_a_direction_and_can_be_set() async throws {
        // Nobody's clock can be set here: that it is told is shown in Rust, C, Python and Kotlin.
        let node = try await start(0, offline: true) { $0.clockSkew = 0.05 }
        let samples = try await node.metricSamples().filter { $0.name == "musig_clock_offset_seconds" }
        XCTAssertTrue(!samples.isEmpty && samples.allSatisfy { $0.value == 0 }, "\(samples)")
        let event = Event.clockSkew(signer: try keys(1)[0], offsetMs: -90_000, ownSuspect: true)
        guard case .clockSkew(_, let offset, let own) = event else { return XCTFail("\(event)") }
        XCTAssertTrue(offset == -90_000 && own)
    }

    func testFirstContactByAnAddressAloneShowsTheSignerIfItIsToldTo() async throws {
        let open = try await start(0) {
            $0.hides = false
            $0.maxConnections = 8
            $0.maxConnectionsPerIp = 4
        }
        try await waitUntil("it listens") { try await !open.listenAddresses().isEmpty }
        let addresses = try await open.listenAddresses()
        let other = try await start(1) { $0.peers = [addresses[0]] }
        let signer = try await watch(other).wait("the signer there") {
            if case let .peerConnected(_, .some(signer)) = $0 { signer } else { nil }
        }
        XCTAssertEqual(signer, try keys(1)[0])
    }

    func testThroughProxyOnionServicesAreDialledAndNotWithout() async throws {
        let onion = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234"
        for proxy in [nil, "http://127.0.0.1:8080"] {
            await assertThrows({ if case .InvalidConfig = $0 { true } else { false } }) {
                _ = try await start(0) {
                    $0.listen = []
                    $0.peers = [onion]
                    $0.proxy = proxy
                }
            }
        }
        let node = try await start(0) {
            $0.listen = []
            $0.peers = [onion]
            $0.external = [onion]
            $0.proxy = "socks5h://127.0.0.1:1"
        }
        let cause = try await watch(node).wait("an unreachable peer") {
            if case let .peerUnreachable(.some(address), nil, cause, _) = $0, address == onion { cause } else { nil }
        }
        XCTAssertTrue(cause.contains("the proxy 127.0.0.1:1"), cause)
    }

    func testSignersAreFoundByTheirKeys() async throws {
        let server = try await start(2) { $0.dht = .server }
        try await waitUntil("it listens") { try await !server.listenAddresses().isEmpty }
        let known = [try await server.listenAddresses()[0]]
        let alice = try await start(0) { $0.bootstrapPeers = known }
        // Set up as on a phone: it listens nowhere, so it looks for the other.
        let bob = try await start(1) {
            $0.listen = []
            $0.mobile = true
            $0.bootstrapPeers = known
        }
        let watchers = [watch(alice), watch(bob)]
        let session = try await bob.createSession(request: SessionRequest(signers: keys(2), content: digests(7)))
        for watcher in watchers { try await watcher.complete(session.id()) }
    }

    func testAServerIsNamedWithItsPeerId() async throws {
        let nameless = ["/ip4/127.0.0.1/tcp/1"]
        let changes: [(inout NodeConfig) -> Void] = [{ $0.bootstrapPeers = nameless }, { $0.relays = nameless }]
        for change in changes {
            do {
                _ = try await start(0, change: change)
                XCTFail("who is there is not said")
            } catch let error as MusigError {
                XCTAssertTrue("\(error)".contains("/p2p/"), "\(error)")
            }
        }
        _ = try await start(0) {
            $0.dht = .off
            $0.mdns = false
        }
    }

    func testSessionsByExportAndImport() async throws {
        let (alice, bob) = (try await start(0, offline: true), try await start(1, offline: true))
        let session = try await alice.createSession(
            request: SessionRequest(signers: keys(2), content: digests(1)))
        var (there, back) = (Data(), Data())
        let watchers = [watch(alice), watch(bob)]
        try await waitUntil("both are complete") {
            there = try await session.exportSession()
            let imported = try await bob.importSessions(bytes: there)
            XCTAssertEqual(imported.map { $0.id() }, [session.id()])
            back = try await imported[0].exportSession()
            _ = try await alice.importSessions(bytes: back)
            let both = try await [session.finalSignatures(), imported[0].finalSignatures()]
            return !both.contains(nil)
        }
        for watcher in watchers { try await watcher.complete(session.id()) }
        await assertThrows({ if case .InputRefused = $0 { true } else { false } }) {
            _ = try await bob.importSessions(bytes: Data(repeating: 9, count: 50))
        }
    }

    func testDeclineAbortAndUnknownSessions() async throws {
        let nodes = [try await start(0), try await start(1)]
        try await connect(nodes)
        let watchers = nodes.map { watch($0, join: false) }
        for abort in [false, true] {
            let session = try await nodes[0].createSession(
                request: SessionRequest(signers: keys(2), content: digests(1)))
            try await waitUntil("it is proposed") {
                watchers[1].seen.contains { $0.session == session.id() }
            }
            let other = try nodes[1].session(id: session.id())
            if abort { try await session.abort(reason: "changed my mind") } else { try await other.decline(reason: "no") }
            try await waitUntil("both know") {
                watchers.allSatisfy { watcher in
                    watcher.seen.contains {
                        guard $0.session == session.id(), case .sessionAborted(let by, let reason, let declined, _) = $0.event
                        else { return false }
                        return by == (abort ? 0 : 1) && reason == (abort ? "changed my mind" : "no") && declined != abort
                    }
                }
            }
        }
        let unknown = try nodes[0].session(id: String(repeating: "00", count: 32))
        await assertThrows({ if case .UnknownSession = $0 { true } else { false } }) { try await unknown.join() }
        await assertThrows({ if case .ProposalRefused(.duplicateKey(0, 1), _) = $0 { true } else { false } }) {
            let key = try keys(1)[0]
            _ = try await nodes[0].createSession(
                request: SessionRequest(signers: [key, key], content: digests(1)))
        }
        await assertThrows({ if case .InvalidConfig = $0 { true } else { false } }) {
            _ = try await Node.start(config: NodeConfig(store: .memory), signer: localSigner(0))
        }
    }

    func testAcceptedProposers() async throws {
        let nodes = [try await start(0), try await start(1)]
        try await connect(nodes)
        let watcher = watch(nodes[1], join: false)
        try await nodes[1].setAcceptedProposers(keys: [nodes[1].signerKey()])
        let session = try await nodes[0].createSession(
            request: SessionRequest(signers: keys(2), content: digests(1)))
        try await waitUntil("it is refused") { try await nodes[1].metrics().refused > 0 }
        XCTAssertFalse(watcher.seen.contains { $0.session == session.id() })
        try await nodes[1].setAcceptedProposers(keys: nil)
        let nobody = try await nodes[1].reputation(signer: nodes[0].signerKey())
        XCTAssertEqual([nobody.successes, nobody.failures, nobody.reliability], [0, 0, 0.8])
        try await nodes[1].forgetSigner(signer: nodes[0].signerKey())
        try await waitUntil("it is proposed") { watcher.seen.contains { $0.session == session.id() } }
    }

    func testSuspendAndResume() async throws {
        let store = try temporaryStore()
        let node = try await start(0, store: store, offline: true)
        try await node.networkChanged()
        try await node.suspend()
        // network_changed is refused like everything else.
        await assertThrows({ if case .Suspended = $0 { true } else { false } }) { try await node.networkChanged() }
        await assertThrows({ if case .Suspended = $0 { true } else { false } }) {
            _ = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(1)))
        }
        // The lock is released: another one may open the store.
        let other = try await start(0, store: store, offline: true)
        await assertThrows({ if case .StoreFailed = $0 { true } else { false } }) { try await node.resume() }
        try await other.stop()
        try await node.resume()
        let watcher = watch(node)
        let session = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(1)))
        try await watcher.complete(session.id())
    }

    func testALockedSignerSignsOnceItIsUnlocked() async throws {
        let signer = try localSigner(0)
        let nodes = [try await start(0, signer: signer), try await start(1)]
        try await connect(nodes)
        let watchers = nodes.map { watch($0) }
        let session = try await nodes[0].createSession(
            request: SessionRequest(signers: keys(2), content: digests(1)))
        signer.lock()
        if try await session.finalSignatures() == nil {
            signer.lock()
        }
        try signer.unlock(secret: secret(0))
        try await nodes[0].announce()
        for watcher in watchers { try await watcher.complete(session.id()) }
    }
}
