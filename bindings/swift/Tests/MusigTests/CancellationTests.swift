import Foundation
import Musig
import XCTest

final class CancellationTests: MusigTestCase {
    /// Consumers come and go while events arrive: each event is handed out once.
    func testNoEventIsLostWhenItsConsumerIsCancelled() async throws {
        let node = try await start(0, offline: true)
        let seen = Shared<[SessionId]>([])
        let stop = Shared(false)
        let cancelled = Shared(0)
        let consumers = Task {
            while !stop.now {
                let consumer = Task {
                    for try await event in node.events() {
                        if case .sessionComplete = event.event { seen.with { $0.append(event.session!) } }
                        event.ack()
                    }
                }
                try await Task.sleep(nanoseconds: UInt64.random(in: 0...2_000_000))
                consumer.cancel()
                do {
                    try await consumer.value
                } catch is CancellationError {
                    cancelled.with { $0 += 1 }
                }
            }
        }
        var made: [SessionId] = []
        for byte in 0..<60 {
            made.append(
                try await node.createSession(
                    request: SessionRequest(signers: keys(1), content: digests(UInt8(byte)))
                ).id())
        }
        try await waitUntil("all are seen") { seen.now.count >= made.count }
        stop.with { $0 = true }
        try await consumers.value
        XCTAssertEqual(seen.now.sorted(), made.sorted())
        XCTAssertGreaterThan(cancelled.now, 5)
    }

    func testIterationAndHandlerEndWithCancellationAndWithTheNode() async throws {
        let node = try await start(0, offline: true)
        let handler = Task { try await node.handleEvents { _ in } }
        // One consumer at a time.
        try await waitUntil("a second consumer is refused") {
            do {
                _ = try node.takeEvent()
                return false
            } catch MusigError.ConsumerExists {
                return true
            }
        }
        await assertThrows({ if case .ConsumerExists = $0 { true } else { false } }) { try await node.waitForEvent() }
        handler.cancel()
        let ended = Shared(false)
        Task {
            _ = await handler.result
            ended.with { $0 = true }
        }
        try await waitUntil("it ends") { ended.now }
        do {
            try await handler.value
            XCTFail("it ended without an error")
        } catch is CancellationError {}
        let last = Task { try await node.handleEvents { _ in } }
        try await node.stop()
        try await last.value
    }

    /// UniFFI's calls into Rust go on when their task is cancelled: they answer as they would have.
    func testCancelledCallsGoOn() async throws {
        func cancelled<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                XCTAssertTrue(Task.isCancelled)
                return try await body()
            }
            return try await task.value
        }
        let signer = try localSigner(0)
        let node = try await cancelled {
            try await Node.start(
                config: NodeConfig(
                    store: .memory, listen: ["/ip4/127.0.0.1/tcp/0"], withoutObserver: true, finalDepth: 1),
                signer: signer)
        }
        let peer = try await start(1) { $0.hides = false }
        try await waitUntil("it listens") { try await cancelled { try await !peer.listenAddresses().isEmpty } }
        let address = try await peer.listenAddresses()[0]
        try await cancelled { try await node.addPeer(address: address) }
        try await waitUntil("they connect") { try await cancelled { try await node.connectedSigners().count == 1 } }
        let signers = try keys(2)
        let session = try await cancelled {
            try await node.createSession(request: SessionRequest(signers: signers, content: digests(1)))
        }
        let there = watch(peer, join: false)
        let here = watch(node)
        try await waitUntil("it is proposed") { there.seen.contains { $0.session == session.id() } }
        let other = try peer.session(id: session.id())
        try await cancelled { try await other.join() }
        for watcher in [here, there] { try await watcher.complete(session.id()) }
        let counts = try await cancelled {
            (
                try await node.sessions().count, Int(try await node.metrics().sessions),
                try await session.status().accepted.count, try await session.proposal().signers.count,
                try await session.finalSignatures()?.count ?? 0, try await session.election().priorityList.count
            )
        }
        XCTAssertTrue(counts == (1, 1, 2, 2, 1, 2), "\(counts)")
        let none = try await cancelled { try await session.finalTransaction() }
        XCTAssertNil(none)
        try await cancelled {
            _ = try await (session.priorityList(), session.isCoordinator(), session.isCurrentCoordinator())
            _ = try await session.coordinatorPeerId()
            _ = try await node.importSessions(bytes: try await session.exportSession())
            try await node.redeliver()
            try await node.announce()
            try await node.networkChanged()
            try await node.setAcceptedProposers(keys: nil)
            _ = try await node.reputation(signer: signers[1])
            try await node.forgetSigner(signer: signers[1])
            try await session.reportBroadcastFailed(reason: "test")
            try await session.notifyBroadcastComplete(txid: nil)
        }
        let second = try await node.createSession(request: SessionRequest(signers: signers, content: digests(2)))
        try await cancelled { try await second.abort(reason: "test") }
        try await cancelled { try await second.closeSession() }
        try await cancelled { try await second.abandonSession() }
        let phase = try await second.status().phase
        XCTAssertEqual(phase, .closed)
        try await cancelled { try await node.suspend() }
        await assertThrows({ if case .Suspended = $0 { true } else { false } }) {
            try await second.broadcastNow()
        }
        try await cancelled { try await node.resume() }
        try await cancelled { try await node.stop() }
        try await here.finished()
        await assertThrows({ if case .NodeStopped = $0 { true } else { false } }) { _ = try await node.sessions() }
    }
}
