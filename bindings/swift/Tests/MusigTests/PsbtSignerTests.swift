import Foundation
import Musig
import XCTest

/// A device that reads PSBTs, and signs none.
private final class Device: PsbtDevice, Sendable {
    struct Handed: Equatable {
        let session: SessionId, number: UInt32, nonces: UInt32
    }

    let key: SignerKey
    let handed = Shared<[Handed]>([])
    let cancelled = Shared(false)

    init(_ key: SignerKey) { self.key = key }

    private func note(_ request: PsbtRequest) throws -> Int {
        XCTAssertEqual(request.keys(), [key])
        XCTAssertFalse(request.again() || request.isCancelled())
        XCTAssertGreaterThan(request.expiresAt(), Date())
        let nonces = try request.psbt().inputs(network: .regtest)[0].nonces
        handed.with { $0.append(Handed(session: request.session(), number: request.number(), nonces: nonces)) }
        return handed.now.count
    }

    func addNonces(request: PsbtRequest) throws -> PsbtAnswer {
        switch try note(request) {
        case 1: return .unreachable(reason: "plug it in")
        case 2: return .signed(psbt: try Psbt.fromBytes(bytes: withNonce(request.psbt().toBytes(), of: key)))
        default:
            while !request.isCancelled() { usleep(2000) }
            cancelled.with { $0 = true }
            return .cancelled
        }
    }

    func addPartials(request: PsbtRequest) throws -> PsbtAnswer {
        _ = try note(request)
        throw MusigError.Internal(reason: "out of paper")
    }
}

/// The output's key, of which the device's is the only participant.
private func output(_ key: SignerKey) throws -> SignerKey {
    try finalKey(keySet: keySet(keys: [key]), derivation: keyPath())
}

/// The PSBT with a public nonce of the key, by its field of BIP-373: two points that somebody else may know.
private func withNonce(_ psbt: Data, of key: SignerKey) throws -> Data {
    try with(psbt, kind: 0x1b, of: key, data(key + key))
}

/// The PSBT with a field of BIP-373 of its input.
private func with(_ psbt: Data, kind: UInt8, of key: SignerKey, _ value: Data) throws -> Data {
    // The map of the first input is after the global map. Everything in it is shorter than 253 bytes.
    let bytes = [UInt8](psbt)
    var at = 5
    while bytes[at] != 0 {
        at += 1 + Int(bytes[at])
        at += 1 + Int(bytes[at])
    }
    at += 1
    let field = Data([0x43, kind]) + data(key + (try output(key))) + Data([UInt8(value.count)]) + value
    return Data(bytes[..<at]) + field + Data(bytes[at...])
}

/// A signer that keeps what it makes.
private final class Keeping: Signer, Sendable {
    let local: LocalSigner
    let nonces = Shared<[Data]>([])
    let partials = Shared<[Data]>([])

    init(_ local: LocalSigner) { self.local = local }

    func holds(key: SignerKey, origin: KeyOrigin?) throws -> Bool { try local.holds(key: key, origin: origin) }

    func makeNonces(request: NonceRequest) throws -> [Data] {
        let made = try local.makeNonces(request: request)
        nonces.with { $0 = made }
        return made
    }

    func makePartials(request: PartialRequest) throws -> [Data] {
        let made = try local.makePartials(request: request)
        partials.with { $0 = made }
        return made
    }

    func forget(session: SessionId, attempt: UInt32) throws { try local.forget(session: session, attempt: attempt) }
}

/// A device that signs: a node of its own signs the same transaction with its key alone, and what the two rounds of that made
/// is what it answers.
private final class SigningDevice: PsbtDevice, Sendable {
    let key: SignerKey
    let signer: Keeping
    /// Signs, and gives the signature.
    let sign: @Sendable () async throws -> Data
    let signature = Shared<Data?>(nil)

    init(_ signer: Keeping, key: SignerKey, sign: @escaping @Sendable () async throws -> Data) {
        self.key = key
        self.signer = signer
        self.sign = sign
    }

    private func answer(_ request: PsbtRequest, kind: UInt8, _ made: Shared<[Data]>) throws -> PsbtAnswer {
        let psbt = try with(request.psbt().toBytes(), kind: kind, of: key, made.now[0])
        return .signed(psbt: try Psbt.fromBytes(bytes: psbt))
    }

    func addNonces(request: PsbtRequest) throws -> PsbtAnswer {
        let made = try blocking(sign)
        signature.with { $0 = made }
        return try answer(request, kind: 0x1b, signer.nonces)
    }

    func addPartials(request: PsbtRequest) throws -> PsbtAnswer {
        try answer(request, kind: 0x1c, signer.partials)
    }
}

final class PsbtSignerTests: MusigTestCase {
    private func request(_ key: SignerKey, of signer: Int = 0) throws -> SessionRequest {
        let unsigned = data("0200000001" + String(repeating: "11", count: 32) + "0000000000fdffffff0150c30000000000000151" + "00000000")
        let keys = try keySet(keys: [key])
        let spent = SpentOutput(value: 60_000, script: try data("5120" + output(key).dropFirst(2)))
        return try SessionRequest(
            signers: [localSigner(signer).publicKey()], content: .transaction(unsigned: unsigned, spent: [spent], sighashType: .default),
            keySets: [keys], broadcast: .signOnly)
    }

    private func failure(_ watcher: Watcher, _ words: String) async throws {
        _ = try await watcher.wait("SignerFailed: \(words)") { event -> Bool? in
            if case .signerFailed(_, let reason) = event { reason.contains(words) ? true : nil } else { nil }
        }
    }

    func testPsbtSignerHandsItsDeviceWhatItIsToSign() async throws {
        let key = try localSigner(20).publicKey()
        let device = Device(key)
        let signer = try PsbtSigner(device: device, keys: [key])
        let node = try await start(0, offline: true, psbtSigner: signer)
        let watcher = watch(node)
        let id = try await node.createSession(request: request(key)).id()
        XCTAssertFalse(try signer.askAgain(session: String(repeating: "00", count: 32)))
        try await failure(watcher, "plug it in")
        try await failure(watcher, "out of paper")
        let handed = [(1, 0), (1, 0), (2, 1)].map { Device.Handed(session: id, number: $0.0, nonces: $0.1) }
        XCTAssertEqual(device.handed.now, handed)
        XCTAssertTrue(try signer.askAgain(session: id))
        try await waitUntil("it is asked again") { device.handed.now.count == 4 }
        XCTAssertEqual(device.handed.now[3], Device.Handed(session: id, number: 3, nonces: 0))
        try await node.stop()
        // The node waited for the call.
        XCTAssertTrue(device.cancelled.now)
    }

    func testPsbtSignerSignsAWholeSessionWithItsDevice() async throws {
        let signer = Keeping(try localSigner(1))
        // A foreign signer signs with no identity key.
        let key = try signer.local.addKey(secret: secret(20))
        let inside = watch(try await start(1, offline: true, foreignSigner: signer))
        let request = try [0, 1].map { try self.request(key, of: $0) }
        let device = SigningDevice(signer, key: key) {
            try await inside.complete(inside.node.createSession(request: request[1]).id())[0]
        }
        let node = try await start(0, offline: true, psbtSigner: PsbtSigner(device: device, keys: [key]))
        let session = try await node.createSession(request: request[0])
        let signatures = try await watch(node).complete(session.id())
        // Nonce, key and message are the same, so the signature is.
        XCTAssertEqual(signatures, [try XCTUnwrap(device.signature.now)])
    }

    func testPsbtSignerOfAFolderWritesWhatIsToBeSigned() async throws {
        let key = try localSigner(20).publicKey()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("musig-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let signer = try PsbtSigner.ofFolder(folder: folder.path, keys: [key], psbtVersion: 2)
        let node = try await start(0, offline: true, psbtSigner: signer)
        let id = try await node.createSession(request: request(key)).id()
        let asked = folder.appendingPathComponent("\(id).1.psbt")
        try await waitUntil("the PSBT is there") { FileManager.default.fileExists(atPath: asked.path) }
        let psbt = try Data(contentsOf: asked)
        XCTAssertEqual(try Psbt.fromBytes(bytes: psbt).version(), 2)
        try withNonce(psbt, of: key).write(to: folder.appendingPathComponent("\(id).1.answer.psbt"))
        let second = folder.appendingPathComponent("\(id).2.psbt")
        try await waitUntil("the second PSBT is there") { FileManager.default.fileExists(atPath: second.path) }
        await assertThrows({ if case .InvalidArgument = $0 { true } else { false } }) {
            _ = try PsbtSigner(device: Device(key), keys: [key], psbtVersion: 1)
        }
    }
}
