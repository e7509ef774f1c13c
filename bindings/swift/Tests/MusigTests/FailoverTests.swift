import Foundation
import Musig
import XCTest

final class FailoverTests: MusigTestCase {
    /// Position 0 is the coordinator.
    private func request(_ seed: UInt8, timeout: TimeInterval = 1) throws -> SessionRequest {
        try SessionRequest(
            signers: keys(3), content: transaction(keys(3), seed: seed), electionMethod: .firstSigner,
            failover: FailoverPolicy(broadcastTimeout: timeout, tiers: .single))
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
        let session = try await nodes[0].createSession(request: request(1))
        try await waitUntil("the coordinator is dead") { dead.now }
        let (failed, next, turn) = try await backups[0].wait("CoordinatorFailed") {
            if case .coordinatorFailed(let failed, let next, let turn) = $0 { (failed, next, turn) } else { nil }
        }
        XCTAssertTrue((failed, next, turn) == ([0], [1], 1))
        try await waitUntil("the backup broadcasts") { !chain.submissions.isEmpty }
        let own = try nodes[1].session(id: session.id())
        let transaction = try await own.finalTransaction()
        XCTAssertEqual(chain.submissions.first, transaction?.txid)
        chain.mine(chain.submissions[0], depth: 1)
        for backup in backups {
            _ = try await backup.wait("BroadcastConfirmed") {
                if case .broadcastConfirmed(let txid, _) = $0 { txid } else { nil }
            }
        }
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
