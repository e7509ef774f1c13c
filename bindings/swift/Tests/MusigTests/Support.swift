import Foundation
import Musig
import XCTest

/// How long anything may take before a test gives up on it.
let patience: TimeInterval = 30

struct TimedOut: Error, CustomStringConvertible {
    let description: String
}

/// Waits for a condition.
func waitUntil(
    _ what: String, within limit: TimeInterval = patience, _ condition: () async throws -> Bool
) async throws {
    let end = Date().addingTimeInterval(limit)
    while try await !condition() {
        guard Date() < end else { throw TimedOut(description: "waited too long until \(what)") }
        try await Task.sleep(nanoseconds: 3_000_000)
    }
}

/// Cancels what does not end in time.
func limited<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
    let task = Task { try await body() }
    let timer = Task {
        try await Task.sleep(nanoseconds: UInt64(patience * 1e9))
        task.cancel()
    }
    defer { timer.cancel() }
    return try await task.value
}

/// A value that several threads share.
final class Shared<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        try lock.withLock { try body(&value) }
    }

    var now: Value { with { $0 } }
}

/// Calls an asynchronous function from a foreign object's thread, which may block.
func blocking<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) throws -> Result {
    let answer = Shared<Swift.Result<Result, any Error>?>(nil)
    let done = DispatchSemaphore(value: 0)
    Task.detached {
        do { answer.with { [value = try await body()] in $0 = .success(value) } } catch {
            answer.with { $0 = .failure(error) }
        }
        done.signal()
    }
    guard done.wait(timeout: .now() + patience) == .success, let result = answer.now else {
        throw TimedOut(description: "no answer to a call from a foreign object")
    }
    return try result.get()
}

func hex(_ bytes: Data) -> String {
    bytes.map { String(format: "%02x", $0) }.joined()
}

func data(_ hex: String) -> Data {
    let digits = Array(hex)
    return Data(stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16)! })
}

/// The secret key of a test signer.
func secret(_ index: Int) -> Data {
    Data(repeating: 0x11, count: 31) + [UInt8(index + 1)]
}

func localSigner(_ index: Int) throws -> LocalSigner {
    try LocalSigner(secret: secret(index))
}

/// The public keys of the first test signers.
func keys(_ count: Int) throws -> [SignerKey] {
    try (0..<count).map { try localSigner($0).publicKey() }
}

func digests(_ bytes: UInt8...) -> SessionContent {
    .messages(messages: bytes.map { Message(digest: Data(repeating: $0, count: 32)) })
}

/// What makes the key of an output without scripts.
func keyPath(_ path: UInt32...) -> Derivation {
    Derivation(path: path, taproot: .keyPath)
}

/// A transaction that spends one Taproot output of the signers' aggregate key.
func transaction(_ signers: [SignerKey], seed: UInt8) throws -> SessionContent {
    try transaction(keySet(keys: signers), keyPath(), seed: seed)
}

/// A transaction that spends one Taproot output of a key set.
func transaction(
    _ keySet: KeySet, _ derivation: Derivation, seed: UInt8, sequence: UInt32 = 0xffff_fffd
) throws -> SessionContent {
    let output = try finalKey(keySet: keySet, derivation: derivation)
    let script = Data([0x51, 0x20]) + data(output).dropFirst()
    func little<T: FixedWidthInteger>(_ value: T) -> Data {
        withUnsafeBytes(of: value.littleEndian) { Data($0) }
    }
    var unsigned = little(UInt32(2)) + [1] + Data(repeating: seed, count: 32) + little(UInt32(0)) + [0]
    unsigned += little(sequence) + [1] + little(UInt64(90_000))
    unsigned += [UInt8(script.count)] + script + little(UInt32(0))
    return .transaction(
        unsigned: unsigned, spent: [SpentOutput(value: 100_000, script: script)], sighashType: .default)
}

/// A chain in memory, to which a Broadcaster submits, and at which a ChainObserver looks.
final class Chain: Broadcaster, ChainObserver, @unchecked Sendable {
    enum Behaviour { case normal, slow, unreachable, rejecting }

    struct State {
        var submitted: [(transaction: SignedTransaction, by: String)] = []
        var depth: [Txid: UInt32] = [:]
        var queries = 0
        var coin: CoinStatus? = .unspent(confirmations: 7)
        var tip: ChainTip? = nil
        var tips = 0
        var congested: Bool? = nil
        var congestions = 0
        /// What is submitted is in a block at once.
        var minesAtOnce = false
        /// So many submissions come too early.
        var early = 0
        var behaviour = Behaviour.normal
        var called = 0
    }

    let state = Shared(State())
    /// Lets slow calls go on.
    let release = DispatchSemaphore(value: 0)
    let name: String
    let hook: Shared<(@Sendable () throws -> Void)?> = Shared(nil)

    init(_ name: String = "chain", _ behaviour: Behaviour = .normal) {
        self.name = name
        state.with { $0.behaviour = behaviour }
    }

    private func enter() throws -> Behaviour {
        let behaviour = state.with { state in
            state.called += 1
            return state.behaviour
        }
        try hook.now?()
        switch behaviour {
        case .slow: _ = release.wait(timeout: .now() + patience)
        case .unreachable: throw MusigError.ChainUnreachable(reason: "the cable is out")
        case .normal, .rejecting: break
        }
        return behaviour
    }

    func submit(transaction: SignedTransaction) throws -> SubmitOutcome {
        if try enter() == .rejecting { return .rejected(reason: "min relay fee not met") }
        let early = state.with { state in
            state.early -= 1
            return state.early >= 0
        }
        if early { return .notYetFinal }
        state.with { state in
            state.submitted.append((transaction, name))
            if state.minesAtOnce { state.depth[transaction.txid] = 1 }
        }
        return .accepted
    }

    func status(query: ChainQuery) throws -> ChainStatus {
        state.with { $0.queries += 1 }
        if name == "observer" { _ = try enter() }
        return state.with { state in
            if let confirmations = state.depth[query.txid] {
                return .confirmed(height: 100, confirmations: confirmations)
            }
            return state.submitted.contains { $0.transaction.txid == query.txid } ? .seen : .unknown
        }
    }

    func coin(outpoint: OutPoint) throws -> CoinStatus? { state.now.coin }

    func tip() throws -> ChainTip? {
        state.with { state in
            state.tips += 1
            return state.tip
        }
    }

    func congested() throws -> Bool? {
        state.with { state in
            state.congestions += 1
            return state.congested
        }
    }

    func mine(_ txid: Txid, depth: UInt32) {
        state.with { $0.depth[txid] = depth }
    }

    var submissions: [Txid] { state.now.submitted.map(\.transaction.txid) }
}

/// Takes a node's events, acknowledges them, and keeps them for the test to look at.
final class Watcher: Sendable {
    let node: Node
    private let events = Shared<[NodeEvent]>([])
    private let task: Shared<Task<Void, any Error>?> = Shared(nil)

    /// - Parameters:
    ///   - options: what its consent covers.
    ///   - handler: called with each event before it is acknowledged.
    init(
        _ node: Node, join: Bool = true, options: JoinOptions? = nil,
        handler: @escaping @Sendable (Node, NodeEvent) async throws -> Void = { _, _ in }
    ) {
        self.node = node
        let events = self.events
        task.with {
            $0 = Task {
                for try await event in node.events() {
                    if join, case .sessionProposed = event.event, let id = event.session {
                        try await node.session(id: id).join(options: options)
                    }
                    try await handler(node, event.received)
                    event.ack()
                    events.with { $0.append(event.received) }
                }
            }
        }
    }

    var seen: [NodeEvent] { events.now }

    func wait<Found>(_ what: String, _ pick: (Event) -> Found?) async throws -> Found {
        var found: Found?
        do {
            try await waitUntil(what) {
                for event in seen where found == nil { found = pick(event.event) }
                return found != nil
            }
        } catch {
            throw TimedOut(description: "no \(what); saw \(seen.map { "\($0.event)".prefix(40) })")
        }
        return found!
    }

    @discardableResult
    func complete(_ id: SessionId) async throws -> [Data] {
        try await waitUntil("\(id) is complete") {
            seen.contains { event in
                if case .sessionComplete = event.event { return event.session == id }
                return false
            }
        }
        return try await node.session(id: id).finalSignatures()!
    }

    func cancel() async {
        let task = self.task.now
        task?.cancel()
        _ = await task?.result
    }

    func finished() async throws {
        try await task.now?.value
    }
}

/// Stops what a test started, and checks that nothing is left of it.
class MusigTestCase: XCTestCase {
    private let nodes = Shared<[Node]>([])
    private let watchers = Shared<[Watcher]>([])
    private let directories = Shared<[URL]>([])

    func start(
        _ index: Int, store: StoreChoice = .memory, offline: Bool = false, signer: LocalSigner? = nil,
        foreignSigner: Signer? = nil, broadcaster: Broadcaster? = nil, observer: ChainObserver? = nil, logSink: LogSink? = nil,
        psbtSigner: PsbtSigner? = nil,
        change: (inout NodeConfig) -> Void = { _ in }
    ) async throws -> Node {
        var config = NodeConfig(
            store: store, listen: offline ? [] : ["/ip4/127.0.0.1/tcp/0"], offline: offline,
            withoutObserver: observer == nil, finalDepth: 1)
        change(&config)
        let node = try await Node.start(
            config: config, signer: try signer ?? localSigner(index), foreignSigner: foreignSigner,
            broadcaster: broadcaster, observer: observer, logSink: logSink, psbtSigner: psbtSigner)
        nodes.with { $0.append(node) }
        return node
    }

    func watch(
        _ node: Node, join: Bool = true, options: JoinOptions? = nil,
        handler: @escaping @Sendable (Node, NodeEvent) async throws -> Void = { _, _ in }
    ) -> Watcher {
        let watcher = Watcher(node, join: join, options: options, handler: handler)
        watchers.with { $0.append(watcher) }
        return watcher
    }

    /// Connects all with all.
    func connect(_ nodes: [Node]) async throws {
        for (index, node) in nodes.enumerated() {
            try await waitUntil("it listens") { try await !node.listenAddresses().isEmpty }
            let address = try await node.listenAddresses()[0]
            for other in nodes[..<index] { try await other.addPeer(address: address) }
        }
        // Whoever was dialled learns who is there, and shows itself to whom it is told of.
        for (index, node) in nodes.enumerated() {
            try await waitUntil("it is dialled") { try await node.connectedSigners().count >= index }
            for other in nodes[..<index] {
                let address = try await other.listenAddresses()[0]
                try await node.addPeer(address: address)
            }
        }
        for node in nodes {
            try await waitUntil("all are connected") {
                try await node.connectedSigners().count == nodes.count - 1
            }
        }
    }

    func temporaryStore() throws -> StoreChoice {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        directories.with { $0.append(directory) }
        return .file(path: directory.appendingPathComponent("store.redb").path)
    }

    /// Forgets nodes, so that a test can look at what their end does.
    func release() -> [Node] {
        watchers.with { $0 = [] }
        return nodes.with { nodes in
            defer { nodes = [] }
            return nodes
        }
    }

    override func tearDown() async throws {
        for node in release() { try await node.stop() }
        for directory in directories.now { try? FileManager.default.removeItem(at: directory) }
        // The counters of live objects, by type, return to zero.
        do {
            try await waitUntil("every object is gone", within: 15) { liveObjects().values.allSatisfy { $0 == 0 } }
        } catch {
            XCTFail("objects are left: \(liveObjects().filter { $0.value != 0 })")
        }
    }
}

/// Fails unless the body throws an error of the library that fits.
func assertThrows(
    _ fits: (MusigError) -> Bool, file: StaticString = #filePath, line: UInt = #line,
    _ body: () async throws -> Void
) async {
    do {
        try await body()
        XCTFail("nothing was thrown", file: file, line: line)
    } catch let error as MusigError {
        XCTAssertTrue(fits(error), "\(error)", file: file, line: line)
        XCTAssertFalse(error.reason.isEmpty, file: file, line: line)
    } catch {
        XCTFail("\(error)", file: file, line: line)
    }
}
