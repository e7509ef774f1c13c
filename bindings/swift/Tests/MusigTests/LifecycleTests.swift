import Foundation
import Musig
import XCTest

final class LifecycleTests: MusigTestCase {
    func testObjectsAreCountedAndGoAway() async throws {
        let chain = Chain()
        let signer = try OwnSigner(0)
        let node = try await start(0, foreignSigner: signer, broadcaster: chain, observer: chain)
        let session = try node.session(id: String(repeating: "00", count: 32))
        let counts = liveObjects()
        for kind in ["Node", "Session", "LocalSigner", "Signer", "Broadcaster", "ChainObserver"] {
            XCTAssertGreaterThan(counts[kind, default: 0], 0, kind)
        }
        withExtendedLifetime(session) {}
    }

    /// When the last reference is gone, the node stops by itself and releases its store.
    func testANodeThatNobodyHoldsStops() async throws {
        let store = try temporaryStore()
        var node: Node? = try await start(0, store: store, offline: true)
        weak var held = node
        _ = release()
        let consumer = Task { [node] in
            for try await event in node!.events() { event.ack() }
        }
        await assertThrows({ if case .StoreFailed = $0 { true } else { false } }) {
            _ = try await start(0, store: store, offline: true)
        }
        node = nil
        XCTAssertNotNil(held, "its consumer holds it")
        consumer.cancel()
        _ = await consumer.result
        var again: Node?
        try await waitUntil("the store is free") {
            do {
                again = try await start(0, store: store, offline: true)
                return true
            } catch MusigError.StoreFailed {
                return false
            }
        }
        XCTAssertNil(held)
        XCTAssertNotNil(again)
    }

    /// Resident memory of this process in KiB.
    private func resident() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try XCTUnwrap(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
        return try XCTUnwrap(Int(line.split(whereSeparator: { !$0.isNumber })[0]))
    }

    /// After cycle 1,000 at most 5 % above the most that it was after cycles 100 to 300.
    func testAThousandCyclesUseNoMemory() async throws {
        let config = NodeConfig(
            store: .memory, listen: ["/ip4/127.0.0.1/tcp/0"], withoutObserver: true, finalDepth: 1)
        var before = 0
        for cycle in 1...1000 {
            let node = try await Node.start(config: config, signer: localSigner(0))
            let session = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(1)))
            for try await event in node.events() {
                event.ack()
                if case .sessionComplete = event.event { break }
            }
            _ = try await session.finalSignatures()
            try await node.stop()
            if (100...300).contains(cycle) { before = max(before, try resident()) }
        }
        let after = try resident()
        print("memory after up to 300 cycles: \(before) KiB, after 1,000: \(after) KiB")
        XCTAssertLessThan(Double(after), Double(before) * 1.05)
    }
}
