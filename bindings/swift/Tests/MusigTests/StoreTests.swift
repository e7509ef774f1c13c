import Foundation
import Musig
import XCTest

final class StoreTests: MusigTestCase {
    func testASessionIsTakenUpFromTheStore() async throws {
        let store = try temporaryStore()
        let alice = try await start(0)
        let bob = try await start(1, store: store)
        try await connect([alice, bob])
        let proposed = watch(bob, join: false)
        let session = try await alice.createSession(request: SessionRequest(signers: keys(2), content: digests(4)))
        _ = try await proposed.wait("SessionProposed") { if case .sessionProposed = $0 { true } else { nil } }
        try await bob.stop()
        try await proposed.finished()

        let again = try await start(1, store: store)
        XCTAssertEqual(again.peerId(), bob.peerId(), "the network's key is in the store")
        let watchers = [watch(alice), watch(again, join: false)]
        try await connect([alice, again])
        try await again.session(id: session.id()).join()
        for watcher in watchers { try await watcher.complete(session.id()) }
        try await again.stop()
        let both = try keys(2)
        do {
            _ = try await start(0, store: store, offline: true)
            XCTFail("the store of another key")
        } catch let error as MusigError {
            guard case .StoreFailed(.otherKey(_, let owner, let signer), _) = error else { throw error }
            XCTAssertFalse(error.isRetryable)
            XCTAssertEqual([owner, signer], [both[1], both[0]])
        }
    }

    func testDurableEventsComeAgainUntilTheyAreAcknowledged() async throws {
        let store = try temporaryStore()
        var node = try await start(0, store: store, offline: true)
        let session = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(4)))
        func next(_ what: String) async throws -> ReceivedEvent {
            try await limited { [node] in
                for try await event in node.events() {
                    if case .sessionComplete = event.event { return event }
                }
                throw TimedOut(description: what)
            }
        }
        // Handed out once per process, whether or not it was acknowledged,
        let first = try await next("the first time")
        XCTAssertTrue(first.durable)
        XCTAssertEqual(first.session, session.id())
        XCTAssertNil(try drain(node).first { $0.received.id == first.received.id })
        // again when asked for,
        try await node.redeliver()
        let second = try await next("when asked for")
        XCTAssertNotEqual(second.received.id, first.received.id)
        // again after a restart,
        try await node.stop()
        node = try await start(0, store: store, offline: true)
        let third = try await next("after a restart")
        XCTAssertEqual(third.event, first.event)
        guard case .sessionComplete(_, _, _, _, stored: true, _) = third.event else { return XCTFail("it is stored") }
        // and again when the handler throws,
        try await node.redeliver()
        let (kept, handled) = (Shared(0), Shared(0))
        let handler = Task { [node] in
            try await node.handleEvents(kept: { _, error in kept.with { $0 += error is TimedOut ? 1 : 0 } }) { event in
                guard case .sessionComplete(_, _, _, _, _, let abortedHere) = event.event else { return }
                XCTAssertFalse(abortedHere)
                if kept.now == 0 { throw TimedOut(description: "no disk space") }
                handled.with { $0 += 1 }
            }
        }
        try await waitUntil("it is kept") { kept.now == 1 }
        try await node.redeliver()
        try await waitUntil("it is handled") { handled.now == 1 }
        try await waitUntil("it is acknowledged") { try await node.metrics().eventsWaiting == 0 }
        try await node.stop()
        try await handler.value
        // but not once it is acknowledged.
        node = try await start(0, store: store, offline: true)
        let status = try await node.session(id: session.id()).status()
        XCTAssertEqual(status.phase, .watching)
        XCTAssertFalse(try drain(node).contains { if case .sessionComplete = $0.event { true } else { false } })
    }

    private func drain(_ node: Node) throws -> [ReceivedEvent] {
        var events: [ReceivedEvent] = []
        while let event = try node.takeEvent() { events.append(ReceivedEvent(node: node, received: event)) }
        return events
    }
}
