import Foundation
import Musig
import XCTest

final class KeysTests: MusigTestCase {
    /// The first test vector of BIP-328.
    func testAggregateKeyOfBip328() throws {
        let signers = [
            "03935f972da013f80ae011890fa89b67a27b7be6ccb24d3274d18b2d4067f261a9",
            "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        ]
        let key = try aggregateKey(signers: signers, order: .asGiven)
        XCTAssertEqual(key, "0354240c76b8f2999143301a99c7f721ee57eee0bce401df3afeaa9ae218c70f23")
        XCTAssertEqual(
            try syntheticXpub(aggregateKey: key),
            "xpub661MyMwAqRbcFt6tk3uaczE1y6EvM1TqXvawXcYmFEWijEM4PDBnuCXwwXEKGEouzXE6QLLRxjatMcLLzJ5LV5Nib1BN7vJg6yp45yHHRbm")
        XCTAssertEqual(try sortKeys(signers: signers), signers.reversed())
    }

    /// Every function that takes a key, a session id or a transaction id throws on text that is none.
    func testMalformedIdentifiersThrow() async throws {
        let node = try await start(0, offline: true)
        let session = try await node.createSession(request: SessionRequest(signers: keys(2), content: digests(1)))
        let good = try keys(2)
        let election = try elect(signers: good, method: .firstSigner)
        let signer = try localSigner(0)
        func refuses(_ name: String, _ expected: String, _ call: () async throws -> Void) async {
            do {
                try await call()
                XCTFail("\(name) took it")
            } catch MusigError.InvalidArgument(let what, let reason) {
                XCTAssertEqual(what, expected, name)
                XCTAssertFalse(reason.isEmpty, name)
            } catch {
                XCTFail("\(name): \(error)")
            }
        }
        for bad in ["", "zz", "02", good[0] + "00", "é"] {
            let signers = [good[0], bad]
            await refuses("aggregateKey", "signer key") { _ = try aggregateKey(signers: signers, order: .sorted) }
            await refuses("sortKeys", "signer key") { _ = try sortKeys(signers: signers) }
            await refuses("syntheticXpub", "signer key") { _ = try syntheticXpub(aggregateKey: bad) }
            await refuses("keySet", "signer key") { _ = try keySet(keys: signers) }
            let strange = KeySet(participants: signers.map { Participant(key: $0) })
            await refuses("finalKey", "signer key") { _ = try finalKey(keySet: strange, derivation: keyPath()) }
            await refuses("address", "signer key") {
                _ = try address(keySet: strange, derivation: keyPath(), network: .regtest)
            }
            await refuses("LocalSigner.holds", "signer key") { _ = try signer.holds(key: bad) }
            await refuses("elect", "signer key") { _ = try elect(signers: signers, method: .firstSigner) }
            await refuses("elect", "session id") {
                _ = try elect(signers: good, method: .sessionSalted, session: bad)
            }
            await refuses("verifyElection", "signer key") {
                _ = try verifyElection(election: election, signers: signers)
            }
            await refuses("verifyElection", "session id") {
                _ = try verifyElection(election: election, signers: good, session: bad)
            }
            await refuses("LocalSigner.forget", "session id") { try signer.forget(session: bad, attempt: 0) }
            await refuses("Node.session", "session id") { _ = try node.session(id: bad) }
            await refuses("Node.createSession", "signer key") {
                _ = try await node.createSession(request: SessionRequest(signers: signers, content: digests(1)))
            }
            await refuses("Node.createSession", "session id") {
                _ = try await node.createSession(
                    request: SessionRequest(signers: good, content: digests(1), replaces: bad))
            }
            await refuses("Session.notifyBroadcastComplete", "transaction id") {
                try await session.notifyBroadcastComplete(txid: bad)
            }
        }
        let sessions = try await node.sessions()
        XCTAssertEqual(sessions.map(\.session), [session.id()], "nothing changed")
    }

    func testBytesThatAreNoProposalAndNoProof() async throws {
        await assertThrows({ if case .ProposalRefused(.encoding, _) = $0 { true } else { false } }) {
            _ = try decodeProposal(encoded: Data([1, 2, 3]))
        }
        await assertThrows({ if case .InputRefused = $0 { true } else { false } }) {
            _ = try verifyProof(proof: Data([1, 2, 3]))
        }
        XCTAssertFalse(libraryVersion().isEmpty)
    }

    func testLocalSigner() async throws {
        let signer = try localSigner(0)
        XCTAssertFalse(signer.isLocked())
        signer.lock()
        XCTAssertTrue(signer.isLocked())
        let node = try await start(0, offline: true, signer: signer)
        await assertThrows({ if case .SignerFailed(.locked, _) = $0 { true } else { false } }) {
            _ = try await node.createSession(request: SessionRequest(signers: keys(1), content: digests(5)))
        }
        await assertThrows({ if case .SignerFailed(.wrongSecret, _) = $0 { true } else { false } }) {
            try signer.unlock(secret: secret(1))
        }
        try signer.unlock(secret: secret(0))
        XCTAssertFalse(signer.isLocked())
        await assertThrows({ _ in true }) { _ = try LocalSigner(secret: Data([1])) }
        XCTAssertNotEqual(try LocalSigner.generate().publicKey(), try LocalSigner.generate().publicKey())
    }
}
