// The Swift node of the test of all languages: docs/interop.md says what it reads and writes.

import Foundation
import Musig

func bytes(_ hex: Substring) -> Data {
    let digits = Array(hex.utf8)
    return Data(
        stride(from: 0, to: digits.count, by: 2).map {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)!
        })
}

@Sendable func say(_ line: String) {
    FileHandle.standardOutput.write(Data("\(line)\n".utf8))
}

guard CommandLine.arguments.count == 2, let first = readLine(), first.hasPrefix("secret ") else {
    fatalError("usage: Interop STORE, with `secret HEX` as the first line of the input")
}
let node = try await Node.start(
    config: NodeConfig(
        store: .file(path: CommandLine.arguments[1]), listen: ["/ip4/127.0.0.1/tcp/0"], withoutObserver: true),
    signer: LocalSigner(secret: bytes(first.dropFirst(7))))

let events = Task.detached { [node] in
    try await node.handleEvents { event in
        guard let id = event.session else { return }
        let session = try node.session(id: id)
        switch event.event {
        case .sessionProposed: try await session.join()
        case .sessionComplete(let signatures, _, _, _, _, _):
            say("complete \(id) \(signatures[0].map { String(format: "%02x", $0) }.joined())")
        case .shouldBroadcast(_, let turn, _, _, _, _): say("should-broadcast \(id) \(turn)")
        case .broadcastClaimed: try await session.notifyBroadcastComplete()
        case .broadcastConfirmed: say("confirmed \(id)")
        default: break
        }
    }
}

while try await node.listenAddresses().isEmpty { await Task.yield() }
say("listening \(try await node.listenAddresses()[0])")

reading: while let line = readLine() {
    let words = line.split(separator: " ")
    switch words.first {
    case "peer":
        try await node.addPeer(address: String(words[1]))
    case "propose":
        _ = try await node.createSession(
            request: SessionRequest(
                signers: words[3...].map(String.init), content: .messages(messages: [Message(digest: bytes(words[2]))]),
                electionMethod: .firstSigner,
                broadcast: .failover(policy: FailoverPolicy(broadcastTimeout: Double(words[1])! / 1000))))
    case "broadcast":
        let txid = String(repeating: "07", count: 32)
        try await node.session(id: String(words[1])).notifyBroadcastComplete(txid: txid)
    default:
        break reading
    }
}
try await node.stop()
try await events.value
