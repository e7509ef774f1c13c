import Foundation
import Musig
import XCTest

/// Every foreign object calls the node that calls it.
final class CallbackTests: MusigTestCase {
    private final class Sink: LogSink {
        let hook: Shared<(@Sendable () throws -> Void)?> = Shared(nil)
        let answered = Shared(0)
        func log(record: LogRecord) throws {
            guard let hook = hook.now else { return }
            try hook()
            answered.with { $0 += 1 }
        }
    }

    func testCallingBackFromEveryHandler() async throws {
        let (broadcaster, observer) = (Chain("chain"), Chain("observer"))
        let (signer, sink) = (try OwnSigner(0), Sink())
        let node = try await start(
            0, foreignSigner: signer, broadcaster: broadcaster, observer: observer, logSink: sink
        ) { $0.logLevel = .debug }
        let peer = try await start(1)
        try await connect([node, peer])
        let called = Shared<[String: Int]>([:])
        @Sendable func hook(_ name: String, _ node: Node) -> @Sendable () throws -> Void {
            { [weak node] in
                guard let node else { return }
                // One call that the actor answers, one that it does not, and one that changes something.
                _ = try blocking { try await node.sessions() }
                _ = try node.session(id: String(repeating: "00", count: 32)).id()
                try blocking { try await node.redeliver() }
                called.with { $0[name, default: 0] += 1 }
            }
        }
        broadcaster.hook.with { $0 = hook("Broadcaster", node) }
        observer.hook.with { $0 = hook("ChainObserver", node) }
        signer.hook.with { $0 = hook("Signer", node) }
        sink.hook.with { $0 = hook("LogSink", node) }
        let events = watch(node) { node, event in
            _ = try await node.sessions()
            if let id = event.session { _ = try await node.session(id: id).status() }
            called.with { $0["events", default: 0] += 1 }
        }
        _ = watch(peer)
        try await node.addPeer(address: "/ip4/127.0.0.1/tcp/9")
        let session = try await node.createSession(
            request: SessionRequest(
                signers: keys(2), content: transaction(wallet(2), keyPath(), seed: 8), keySets: [wallet(2)],
                electionMethod: .firstSigner))
        try await events.complete(session.id())
        try await waitUntil("it is submitted") { !broadcaster.submissions.isEmpty }
        observer.mine(broadcaster.submissions[0], depth: 1)
        try await waitUntil("every handler called back") {
            Set(called.now.keys) == ["Broadcaster", "ChainObserver", "Signer", "LogSink", "events"]
        }
        sink.hook.with { $0 = nil }
    }

    func testAHandlerMayAskTheNodeToStop() async throws {
        let chain = Chain()
        let node = try await start(0, broadcaster: chain, observer: chain)
        chain.hook.with { $0 = { [weak node] in node?.requestStop() } }
        let watcher = watch(node)
        _ = try await node.createSession(
            request: SessionRequest(signers: keys(1), content: transaction(keys(1), seed: 9)))
        try await watcher.finished()
        await assertThrows({ if case .NodeStopped = $0 { true } else { false } }) { _ = try await node.sessions() }
    }
}
