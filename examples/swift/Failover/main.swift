// The main job: three signers spend their coin, the elected coordinator stops before it broadcasts, and the first backup does.
//
//     cargo run --example chain -- .build/debug/Failover
//
// The argument is the address of an Esplora server on regtest, here of a small chain that also pays the coin. The nodes of this
// program talk by TCP on loopback, as they would between phones.

import Foundation
import Musig

/// What the coin has, and what its spending costs, in satoshis.
enum Amount {
    static let coin: UInt64 = 100_000
    static let fee: UInt64 = 1_000
}

func startSigner(_ name: String, source: ChainSource?) async throws -> Node {
    let node = try await Node.start(
        config: NodeConfig(store: .memory, listen: ["/ip4/127.0.0.1/tcp/0"], withoutObserver: source == nil, finalDepth: 1),
        signer: LocalSigner.generate(), broadcaster: source?.broadcaster(), observer: source?.observer())
    print("\(name): signer \(node.signerKey())")
    return node
}

func bytes(_ hex: Substring) -> Data {
    let digits = Array(hex.utf8)
    return Data(
        stride(from: 0, to: digits.count, by: 2).map {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)!
        })
}

/// An unsigned transaction that spends the coin of all signers together, back to them.
func payment(_ signers: [SignerKey], coin: String) throws -> SessionContent {
    let key = try finalKey(keySet: keySet(keys: signers), derivation: Derivation(taproot: .keyPath))
    let script = Data([0x51, 0x20]) + bytes(key.dropFirst(2))
    let parts = coin.split(separator: ":")
    func number<T: FixedWidthInteger>(_ number: T) -> Data { withUnsafeBytes(of: number.littleEndian) { Data($0) } }
    var unsigned = number(UInt32(2)) + Data([1]) + Data(bytes(parts[0]).reversed())  // version, one input: its transaction,
    unsigned += number(UInt32(parts[1])!) + Data([0]) + number(0xffff_fffd as UInt32)  // output, no script, sequence
    unsigned += Data([1]) + number(Amount.coin - Amount.fee)  // one output: its value,
    unsigned += Data([UInt8(script.count)]) + script + number(UInt32(0))  // its script; lock time
    return .transaction(
        unsigned: unsigned, spent: [SpentOutput(value: Amount.coin, script: script)], sighashType: .default)
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

guard CommandLine.arguments.count == 2 else { fatalError("usage: Failover ESPLORA_URL") }
// Your own Bitcoin node: ChainSource.bitcoinCore(address: "http://127.0.0.1:8332", auth: .cookieFile(path: "…/.cookie")).
let source = try ChainSource.esplora(address: CommandLine.arguments[1])
let coordinator = try await startSigner("coordinator", source: nil)
let backup = try await startSigner("backup", source: source)
let third = try await startSigner("third", source: source)
let nodes = [("coordinator", coordinator), ("backup", backup), ("third", third)]

var addresses: [String] = []
for (_, node) in nodes {
    while try await node.listenAddresses().isEmpty { await Task.yield() }
    for address in addresses { try await node.addPeer(address: address) }
    addresses.append(try await node.listenAddresses()[0])
}

let signers = nodes.map { $0.1.signerKey() }
let place = try address(
    keySet: keySet(keys: signers), derivation: Derivation(taproot: .keyPath), network: .regtest)
// Not by print(), which keeps it for later when this is a pipe.
FileHandle.standardOutput.write(Data("pay \(Amount.coin) \(place)\n".utf8))
guard let coin = readLine() else { fatalError("a line TXID:VOUT is needed") }
let request = SessionRequest(
    signers: signers, content: try payment(signers, coin: coin),
    electionMethod: .firstSigner, broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: 2)))
_ = try await coordinator.createSession(request: request)
try await withThrowingTaskGroup(of: Void.self) { group in
    for (name, node) in nodes { group.addTask { try await run(name, node) } }
    try await group.waitForAll()
}
for (_, node) in nodes { try await node.stop() }
print("A backup broadcast what the coordinator did not.")
