// The main job: three signers sign a transaction, the elected coordinator stops before it broadcasts, and the first
// backup's Broadcaster, which is written in Swift, broadcasts.
//
// The nodes of this program talk by TCP on loopback, as they would between phones. The chain is a dictionary.

import Foundation
import Musig

/// Stands for the application's Bitcoin backend: its own node, or an API.
final class Chain: Broadcaster, ChainObserver, @unchecked Sendable {
    private let lock = NSLock()
    private var blocks: [Txid: UInt32] = [:]

    func submit(transaction: SignedTransaction) throws -> SubmitOutcome {
        lock.withLock { blocks[transaction.txid] = 101 }
        print("backup: broadcast \(transaction.txid), \(transaction.bytes.count) bytes")
        return .accepted
    }

    func status(query: ChainQuery) throws -> ChainStatus {
        guard let height = lock.withLock({ blocks[query.txid] }) else { return .unknown }
        return .confirmed(height: height, confirmations: 1)
    }
}

func startSigner(_ name: String, chain: Chain?) async throws -> Node {
    let node = try await Node.start(
        config: NodeConfig(
            store: .memory, listen: ["/ip4/127.0.0.1/tcp/0"], withoutObserver: chain == nil, finalDepth: 1),
        signer: LocalSigner.generate(), broadcaster: chain, observer: chain)
    print("\(name): signer \(node.signerKey())")
    return node
}

/// An output of 100,000 satoshis that belongs to all signers together, and an unsigned transaction that spends it.
func payment(_ signers: [SignerKey]) throws -> SessionContent {
    let key = try finalKey(keySet: keySet(keys: signers), derivation: Derivation(taproot: .keyPath))
    let bytes = Array(key.utf8)
    let xOnly = stride(from: 2, to: bytes.count, by: 2).map {
        UInt8(String(decoding: bytes[$0...$0 + 1], as: UTF8.self), radix: 16)!
    }
    let script = Data([0x51, 0x20] + xOnly)
    var unsigned = Data([2, 0, 0, 0, 1]) + Data(repeating: 0xaa, count: 32)  // version, one input: its transaction,
    unsigned += [0, 0, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff]  // output 0, no script, sequence
    unsigned += withUnsafeBytes(of: UInt64(99_000).littleEndian) { Data([1]) + $0 }  // one output: its value,
    unsigned += Data([UInt8(script.count)]) + script + [0, 0, 0, 0]  // its script; lock time
    return .transaction(
        unsigned: unsigned, spent: [SpentOutput(value: 100_000, script: script)], sighashType: .default)
}

/// What an application does with its events. Returns when the node stops, or at the end of the session.
func run(_ name: String, _ node: Node) async throws {
    for try await event in node.events() {
        switch event.event {
        case .sessionProposed(let proposal, let proposer, _):
            print("\(name): signer \(proposer) proposes \(proposal.messages.count) input(s), and I consent")
            let session = try node.session(id: proposal.session)
            print(try await session.summary(options: SummaryOptions(network: .regtest)).text)
            try await session.join()
        case .sessionComplete(_, let transaction, let list, let rank, _, _):
            print("\(name): signed \(transaction?.txid ?? "-"), my position is \(rank) of \(list)")
        case .shouldBroadcast(_, let turn, _, _, _, _) where name == "coordinator":
            print("\(name): turn \(turn) is mine, and the battery is empty")
            try await node.stop()
        case .coordinatorFailed(let failed, let causes, let next, let turn):
            print("\(name): \(failed) did not broadcast (\(causes)); turn \(turn) is \(next)'s")
        case .broadcastConfirmed(let txid, let depth, _, _):
            print("\(name): \(txid ?? "-") is in block \(depth?.height ?? 0)")
            event.ack()
            return
        default:
            break
        }
        event.ack()
    }
    print("\(name): stopped")
}

let chain = Chain()
let coordinator = try await startSigner("coordinator", chain: nil)
let backup = try await startSigner("backup", chain: chain)
let third = try await startSigner("third", chain: chain)
let nodes = [("coordinator", coordinator), ("backup", backup), ("third", third)]

var addresses: [String] = []
for (_, node) in nodes {
    while try await node.listenAddresses().isEmpty { await Task.yield() }
    for address in addresses { try await node.addPeer(address: address) }
    addresses.append(try await node.listenAddresses()[0])
}

let request = SessionRequest(
    signers: nodes.map { $0.1.signerKey() }, content: try payment(nodes.map { $0.1.signerKey() }),
    electionMethod: .firstSigner, broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 2)))
_ = try await coordinator.createSession(request: request)
try await withThrowingTaskGroup(of: Void.self) { group in
    for (name, node) in nodes { group.addTask { try await run(name, node) } }
    try await group.waitForAll()
}
for (_, node) in nodes { try await node.stop() }
print("The backup broadcast what the coordinator did not.")
