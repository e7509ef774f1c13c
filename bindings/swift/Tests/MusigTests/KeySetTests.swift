import Foundation
import Musig
import XCTest

final class KeySetTests: MusigTestCase {
    /// The public key of a test signer's secret.
    private func key(_ index: Int) throws -> SignerKey {
        try localSigner(index).publicKey()
    }

    /// Fails unless the body is refused for this.
    private func refuses(
        _ expected: ProposalProblem, line: UInt = #line, _ body: () async throws -> Void
    ) async {
        await assertThrows(
            { if case .ProposalRefused(let problem, _) = $0 { problem == expected } else { false } }, line: line, body)
    }

    /// The first keys of BIP-328, and what an independent calculation makes of them.
    func testKeySetsHaveTheFinalKeysAndAddressesOfTheStandards() throws {
        let keys = [
            "03935f972da013f80ae011890fa89b67a27b7be6ccb24d3274d18b2d4067f261a9",
            "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        ]
        let set = try keySet(keys: keys, order: .asGiven)
        XCTAssertEqual(
            try finalKey(keySet: set, derivation: Derivation()), try aggregateKey(signers: keys, order: .asGiven))
        XCTAssertEqual(
            try finalKey(keySet: set, derivation: Derivation(path: [0, 1])),
            "032789ad09c05922f654eebe50677730eec1e930233abd55e4adefda34bab1f04a")
        XCTAssertEqual(
            try finalKey(keySet: set, derivation: keyPath(0, 1)),
            "038cf7ec6432a93a25a2b650e4d6f00893ea7a57e988a03d35ff68118664176520")
        let root = Taproot.merkleRoot(root: Data(repeating: 9, count: 32))
        XCTAssertEqual(
            try finalKey(keySet: set, derivation: Derivation(path: [0, 1], taproot: root)),
            "02123f47544c4f7e0717dabbc139909576712fd4ba1e63135adf83b9f8dac21d94")
        let addresses: [(Network, String)] = [
            (.mainnet, "bc1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sq4mvd3d"),
            (.testnet, "tb1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sqzn6ztz"),
            (.signet, "tb1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sqzn6ztz"),
            (.regtest, "bcrt1p3nm7cepj4yaztg4k2rjdduqgj04854lf3zsr6d0ldqgcveqhv5sq02sy7c"),
        ]
        for (network, expected) in addresses {
            XCTAssertEqual(try address(keySet: set, derivation: keyPath(0, 1), network: network), expected)
        }
        // By default sorted.
        XCTAssertEqual(try keySet(keys: keys), try keySet(keys: keys, order: .sorted))
        XCTAssertEqual(
            try finalKey(keySet: keySet(keys: keys), derivation: Derivation()),
            try aggregateKey(signers: sortKeys(signers: keys), order: .asGiven))
    }

    func testKeySetsThatNoSessionSignsWithHaveNoKey() async throws {
        let twice = [try key(0), try key(1), try key(0)]
        let repeated = KeySet(participants: twice.map { Participant(key: $0) })
        await refuses(.duplicateKey(first: 0, second: 2)) { _ = try keySet(keys: twice) }
        await refuses(.duplicateKey(first: 0, second: 2)) { _ = try aggregateKey(signers: twice, order: .sorted) }
        await refuses(.duplicateKey(first: 0, second: 2)) {
            _ = try finalKey(keySet: repeated, derivation: keyPath())
        }
        await refuses(.duplicateKey(first: 0, second: 2)) {
            _ = try address(keySet: repeated, derivation: keyPath(), network: .signet)
        }
        let good = try keySet(keys: keys(2))
        await refuses(.hardenedChild(number: 0x8000_0000)) {
            _ = try finalKey(keySet: good, derivation: keyPath(0, 0x8000_0000))
        }
        await refuses(.hardenedChild(number: 0x8000_0000)) {
            _ = try address(keySet: good, derivation: keyPath(0x8000_0000), network: .mainnet)
        }
        await assertThrows({ if case .ProposalRefused(.limit(_, 9, _, 8), _) = $0 { true } else { false } }) {
            _ = try finalKey(keySet: good, derivation: Derivation(path: Array(repeating: 0, count: 9)))
        }
        await assertThrows({ if case .InvalidArgument("the merkle root", _) = $0 { true } else { false } }) {
            let short = Taproot.merkleRoot(root: Data(count: 31))
            _ = try finalKey(keySet: good, derivation: Derivation(taproot: short))
        }
        let origin = KeyOrigin(fingerprint: Data(count: 3), path: [])
        let strange = KeySet(participants: [Participant(key: try key(0), origin: origin)])
        await assertThrows({ if case .InvalidArgument("a fingerprint", _) = $0 { true } else { false } }) {
            _ = try finalKey(keySet: strange, derivation: keyPath())
        }
    }

    /// A wallet's keys in two key sets, one derived after the aggregation, and identity keys that sign no session.
    func testKeySetsOfAWalletSign() async throws {
        let signers = try [localSigner(0), localSigner(1)]
        var nodes: [Node] = []
        for (index, signer) in signers.enumerated() {
            nodes.append(try await start(index, signer: signer))
        }
        try await connect(nodes)
        let blind = JoinOptions(signBlind: true)
        let watchers = nodes.map { watch($0, options: blind) }
        let origin = KeyOrigin(fingerprint: Data([1, 2, 3, 4]), path: [0x8000_0056, 1])
        let wallet = KeySet(
            participants: [Participant(key: try key(20), origin: origin), Participant(key: try key(21))],
            order: .sorted)
        let other = try keySet(keys: [key(41), key(40)], order: .asGiven)
        let messages = [
            Message(digest: Data(repeating: 1, count: 32), keySet: 1, derivation: keyPath(0, 7)),
            Message(digest: Data(repeating: 2, count: 32), keySet: 2),
        ]
        let request = SessionRequest(
            signers: try keys(2), content: .messages(messages: messages), keySets: [wallet, other],
            consent: blind)
        // A signer adds its keys while its node runs.
        await refuses(.keyNotHeld(key: try key(20))) { _ = try await nodes[0].createSession(request: request) }
        XCTAssertTrue(try signers[0].holds(key: key(0)))
        for (signer, own) in zip(signers, [[20, 41], [21, 40]]) {
            for number in own {
                XCTAssertFalse(try signer.holds(key: key(number)))
                XCTAssertEqual(try signer.addKey(secret: secret(number)), try key(number))
                XCTAssertTrue(try signer.holds(key: key(number)))
            }
        }
        XCTAssertFalse(try signers[0].holds(key: key(0)), "its identity key signs no session any more")
        await refuses(.keyNotHeld(key: try key(0))) {
            _ = try await nodes[0].createSession(request: SessionRequest(signers: keys(2), content: digests(1)))
        }

        let session = try await nodes[0].createSession(request: request)
        var all: [[Data]] = []
        for watcher in watchers { all.append(try await watcher.complete(session.id())) }
        XCTAssertEqual(all[0], all[1])
        XCTAssertEqual(all[0].map(\.count), [64, 64])
        let proposal = try await nodes[1].session(id: session.id()).proposal()
        XCTAssertEqual(proposal.keySets, [wallet, other])
        XCTAssertEqual(proposal.messages.map(\.keySet), [0, 1])
        XCTAssertEqual(proposal.messages.map(\.derivation), [keyPath(0, 7), Derivation()])
        XCTAssertEqual(try decodeProposal(encoded: proposal.encoded), proposal)
    }

    func testARefusedProposalIsReportedWithItsProposerAndTheReason() async throws {
        let nodes = [try await start(0), try await start(1)]
        try await connect(nodes)
        let watcher = watch(nodes[1])
        // Nobody holds the second key, in whose place the other node is.
        let strange = try keySet(keys: [key(0), key(20)])
        let message = Message(digest: Data(repeating: 1, count: 32), keySet: 1)
        let request = SessionRequest(
            signers: try keys(2), content: .messages(messages: [message]), keySets: [strange])
        _ = try await nodes[0].createSession(request: request)
        let (proposer, reason) = try await watcher.wait("a refused proposal") { event -> (SignerKey, String)? in
            if case .proposalRefused(let proposer, let reason) = event { (proposer, reason) } else { nil }
        }
        XCTAssertEqual(proposer, try key(0))
        XCTAssertTrue(reason.contains("does not hold the participant key"), reason)
    }

    func testKeySetsOf600AddressesAreGivenAndTheOneThatIsSpentIsSigned() async throws {
        let signer = try localSigner(0)
        _ = try signer.addKey(secret: secret(20))
        let node = try await start(0, offline: true, signer: signer)
        let watcher = watch(node)
        let wallet = try keySet(keys: [key(20)])
        let session = try await node.createSession(
            request: SessionRequest(
                signers: keys(1), content: transaction(wallet, keyPath(0, 321), seed: 6), keySets: [wallet],
                derivations: (0..<600).map { KeyDerivation(derivation: keyPath(0, $0), keySet: 1) }))
        let proposal = try await session.proposal()
        XCTAssertEqual(proposal.keySets, [wallet])
        XCTAssertEqual(proposal.messages.map(\.derivation), [keyPath(0, 321)])
        XCTAssertLessThan(proposal.encoded.count, 500)
        let signatures = try await watcher.complete(session.id())
        XCTAssertEqual(signatures.map(\.count), [64])
    }

    func testKeySetsNeedTheirSecretsAgainAfterALock() async throws {
        let signer = try localSigner(0)
        _ = try signer.addKey(secret: secret(20))
        signer.lock()
        XCTAssertTrue(try signer.holds(key: key(20)))
        try signer.unlock(secret: secret(0))
        XCTAssertEqual(try signer.addKey(secret: secret(20)), try key(20))
        for length in [31, 32] {
            await assertThrows({ if case .SignerFailed(.invalidSecret, _) = $0 { true } else { false } }) {
                _ = try signer.addKey(secret: Data(count: length))
            }
        }
        // One key, one purpose.
        await assertThrows({ if case .SignerFailed = $0 { true } else { false } }) {
            _ = try signer.addKey(secret: secret(0))
        }
    }

    /// The first vector of BIP-32.
    func testKeySetsOfKeysBelowAnXprv() async throws {
        let xprv =
            "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4c"
            + "V1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7"
        let below = "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c"
        let fingerprint = Data([0x34, 0x42, 0x19, 0x3e])
        let account = KeyOrigin(fingerprint: fingerprint, path: [0x8000_0000])
        let origin = KeyOrigin(fingerprint: fingerprint, path: [0x8000_0000, 1])
        let signer = try localSigner(0)
        for (text, wrong) in [("xprv", account), (xprv, origin)] {
            await assertThrows({ if case .SignerFailed(.invalidXprv, _) = $0 { true } else { false } }) {
                try signer.addXprv(xprv: text, origin: wrong)
            }
        }
        XCTAssertTrue(try signer.holds(key: key(0)))
        try signer.addXprv(xprv: xprv, origin: account)
        XCTAssertTrue(try signer.holds(key: below, origin: origin))
        XCTAssertFalse(try signer.holds(key: below))
        XCTAssertFalse(try signer.holds(key: key(0)))
    }
}
