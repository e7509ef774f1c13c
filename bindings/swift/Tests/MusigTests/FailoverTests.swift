import Foundation
import Musig
import XCTest

final class FailoverTests: MusigTestCase {
    /// Position 0 is the coordinator.
    private func request(_ seed: UInt8, timeout: TimeInterval = 1) throws -> SessionRequest {
        try SessionRequest(
            signers: keys(3), content: transaction(keys(3), seed: seed), electionMethod: .firstSigner,
            broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: timeout, tiers: .single)))
    }

    func testTheBackupBroadcastsWhenTheCoordinatorIsDead() async throws {
        let chain = Chain()
        // The coordinator has no Broadcaster: its application would have to broadcast.
        var nodes = [try await start(0)]
        for index in 1..<3 { nodes.append(try await start(index, broadcaster: chain, observer: chain)) }
        try await connect(nodes)
        let dead = Shared(false)
        _ = watch(nodes[0]) { node, event in
            if case .shouldBroadcast = event.event {
                try await node.stop()
                dead.with { $0 = true }
            }
        }
        let backups = nodes[1...].map { watch($0) }
        let session = try await nodes[0].createSession(request: request(1, timeout: 300))
        try await waitUntil("the coordinator is dead") { dead.now }
        let (failed, causes, next, turn) = try await backups[0].wait("CoordinatorFailed") {
            if case .coordinatorFailed(let failed, let causes, let next, let turn) = $0 {
                (failed, causes, next, turn)
            } else {
                nil
            }
        }
        XCTAssertTrue((failed, next, turn) == ([0], [1], 1))
        XCTAssertEqual(causes, [.gone])
        try await waitUntil("the backup broadcasts") { !chain.submissions.isEmpty }
        let own = try nodes[1].session(id: session.id())
        let waits = try await own.status().failover?.signers ?? []
        XCTAssertEqual(waits.map(\.turn), [0, 1, 2])
        XCTAssertTrue(waits[0].cause == .gone && !waits[0].connected && waits[0].opensAt == nil)
        XCTAssertLessThan(waits[0].wait, waits[1].wait)
        let transaction = try await own.finalTransaction()
        XCTAssertEqual(chain.submissions.first, transaction?.txid)
        chain.mine(chain.submissions[0], depth: 1)
        var told: [BroadcastBy] = []
        for backup in backups {
            let (coordinators, by) = try await backup.wait("BroadcastConfirmed") {
                if case .broadcastConfirmed(_, _, let coordinators, let by) = $0 { (coordinators, by) } else { nil }
            }
            XCTAssertEqual(coordinators, [1])
            told.append(by)
        }
        XCTAssertEqual(told, [.own, .claimed(signer: 1)])
        XCTAssertEqual(Set(chain.submissions).count, 1)
        try await waitUntil("the watch ends") { try await own.status().phase == .final }
    }

    func testAReportedFailureOpensTheNextTurnAtOnce() async throws {
        let chain = Chain()
        var nodes = [try await start(0)]
        for index in 1..<3 { nodes.append(try await start(index, broadcaster: chain, observer: chain)) }
        try await connect(nodes)
        _ = watch(nodes[0]) { node, event in
            if case .shouldBroadcast = event.event, let id = event.session {
                try await node.session(id: id).reportBroadcastFailed(reason: "no signal")
            }
        }
        _ = nodes[1...].map { watch($0) }
        _ = try await nodes[0].createSession(request: request(2, timeout: 3600))
        try await waitUntil("the backup broadcasts, an hour early") { !chain.submissions.isEmpty }
    }

    /// The counters of the protocol that are not zero, by name and the label's value.
    private func counted(_ node: Node) async throws -> [String: UInt64] {
        let prefixes = ["session", "failover", "broadcasts", "coordinator", "submissions"].map { "musig_\($0)" }
        let samples = try await node.metricSamples().filter { sample in
            sample.kind == .counter && sample.value > 0 && prefixes.contains { sample.name.hasPrefix($0) }
        }
        let named = samples.map { (([$0.name] + $0.labels.values).joined(separator: ","), $0.value) }
        return Dictionary(uniqueKeysWithValues: named)
    }

    func test_metrics_match_aScriptedFailover() async throws {
        let chain = Chain()
        // With such a timeout the chain is looked at every 30 seconds.
        chain.state.with { $0.minesAtOnce = true }
        let cut = Chain("cut", .unreachable)
        let nodes = [
            try await start(0, broadcaster: cut, observer: chain), try await start(1, broadcaster: chain, observer: chain),
        ]
        try await connect(nodes)
        let nothing = try await counted(nodes[0])
        XCTAssertEqual(nothing, [:])
        let watchers = nodes.map { watch($0) }
        // The first cannot broadcast, and says so: the second does, an hour early.
        let session = try await nodes[0].createSession(
            request: SessionRequest(
                signers: keys(2), content: transaction(keys(2), seed: 9), electionMethod: .firstSigner,
                broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 3600, tiers: .single))))
        for watcher in watchers {
            _ = try await watcher.wait("BroadcastSeen") { if case .broadcastSeen(let txid, _, _) = $0 { txid } else { nil } }
        }
        for node in nodes {
            let own = try node.session(id: session.id())
            try await waitUntil("the watch ends") { try await own.status().phase == .final }
        }
        let names = try keys(2).map { String("\($0)".prefix(8)) }
        for (index, node) in nodes.enumerated() {
            var script: [String: UInt64] = [
                "musig_sessions_proposed_total,\(index == 0 ? "proposer" : "signer")": 1,
                "musig_sessions_completed_total": 1,
                "musig_sessions_ended_total,confirmed": 1,
                "musig_failover_sessions_total": 1,
                "musig_failover_turns_total,nack": 1,
                "musig_broadcasts_total,\(names[1])": 1,
            ]
            if index == 0 {
                script["musig_submissions_total,unreachable"] = UInt64(cut.state.now.called)
            } else {
                script["musig_failover_own_turns_total"] = 1
                script["musig_submissions_total,accepted"] = UInt64(chain.submissions.count)
            }
            let wanted = script
            try? await waitUntil("all claims are there") { try await self.counted(node) == wanted }
            let found = try await counted(node)
            XCTAssertEqual(found, wanted)
        }
        let signing = try await nodes[0].metricSamples().filter { $0.name == "musig_signing_seconds" }
        XCTAssertEqual(signing.map(\.value), [1])
        XCTAssertEqual(signing[0].kind, .histogram)
        XCTAssertEqual(signing[0].buckets.last?.count, 1)
        let text = try await nodes[1].metricsText(format: .prometheus)
        XCTAssertTrue(text.contains("\nmusig_sessions_completed_total 1\n"))
        let open = try await nodes[1].metricsText(format: .openMetrics)
        XCTAssertTrue(open.hasSuffix("# EOF\n"))
    }

    func test_signing_alone_endsWithTheSignatures() async throws {
        let nodes = [try await start(0), try await start(1)]
        try await connect(nodes)
        let watchers = nodes.map { watch($0) }
        let session = try await nodes[0].createSession(
            request: SessionRequest(signers: keys(2), content: digests(7)).signOnly())
        for (node, watcher) in zip(nodes, watchers) {
            try await watcher.complete(session.id())
            let own = try node.session(id: session.id())
            let status = try await own.status()
            XCTAssertEqual(status.phase, .final)
            XCTAssertNil(status.failover)
            let proposal = try await own.proposal()
            XCTAssertEqual(proposal.broadcast, .signOnly)
            await assertThrows({ if case .WrongState = $0 { true } else { false } }) { try await own.broadcastNow() }
            // A session after it, of which the events come after all of the first one's.
            let other = try await node.createSession(
                request: SessionRequest(signers: [node.signerKey()], content: digests(8)).coordinatorOnly())
            try await waitUntil("its coordinator is asked") {
                watcher.seen.contains {
                    if case .shouldBroadcast = $0.event { $0.session == other.id() } else { false }
                }
            }
            XCTAssertFalse(
                watcher.seen.contains {
                    if case .shouldBroadcast = $0.event { $0.session == session.id() } else { false }
                })
        }
    }

    func testAnySignerMayBroadcastNow() async throws {
        let chain = Chain()
        let nodes = [
            try await start(0), try await start(1), try await start(2, broadcaster: chain, observer: chain),
        ]
        try await connect(nodes)
        let watchers = nodes.map { watch($0) }
        let session = try await nodes[0].createSession(request: request(3, timeout: 3600))
        try await watchers[2].complete(session.id())
        try await nodes[2].session(id: session.id()).broadcastNow()
        try await waitUntil("it is submitted") { !chain.submissions.isEmpty }
        let txid = chain.submissions[0]
        // Who has no observer is told what others claim, and looks itself.
        _ = try await watchers[0].wait("a claim") {
            if case .broadcastClaimed(txid, by: 2) = $0 { true } else { nil }
        }
    }
}
