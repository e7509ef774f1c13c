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
            syntheticXpub(aggregateKey: key),
            "xpub661MyMwAqRbcFt6tk3uaczE1y6EvM1TqXvawXcYmFEWijEM4PDBnuCXwwXEKGEouzXE6QLLRxjatMcLLzJ5LV5Nib1BN7vJg6yp45yHHRbm")
        XCTAssertEqual(sortKeys(signers: signers), signers.reversed())
    }

    func testTweakForest() throws {
        let aggregate = try aggregateKey(signers: keys(3), order: .sorted)
        let forest = TweakForest(aggregateKey: aggregate)
        XCTAssertEqual(try forest.key(), aggregate)
        XCTAssertNil(try forest.derive(path: []))
        let child = try XCTUnwrap(forest.derive(path: [0, 7]))
        XCTAssertEqual(try forest.derive(path: [0, 7]), child, "a shared prefix is stored once")
        let output = try forest.taproot(after: child)
        XCTAssertNotEqual(try forest.key(after: output), try forest.key(after: child))
        let own = try forest.push(tweak: taprootTweak(internalKey: aggregate))
        XCTAssertEqual(own, try forest.taproot())
        XCTAssertEqual(forest.tweaks().count, Int(own) + 1)
        XCTAssertThrowsError(try forest.derive(path: [0x8000_0000]))
        XCTAssertThrowsError(try taprootTweak(internalKey: aggregate, merkleRoot: Data([1])))
        XCTAssertThrowsError(try forest.key(after: 99))
    }

    func testWrongTextIsAnArgumentError() async throws {
        await assertThrows({ if case .InvalidArgument = $0 { true } else { false } }) {
            _ = try aggregateKey(signers: ["02zz"], order: .sorted)
        }
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
        XCTAssertEqual(try signer.sign(digest: Data(repeating: 5, count: 32)).count, 64)
        XCTAssertFalse(signer.isLocked())
        signer.lock()
        XCTAssertTrue(signer.isLocked())
        await assertThrows({ if case .SignerFailed(.locked, _) = $0 { true } else { false } }) {
            _ = try signer.sign(digest: Data(repeating: 5, count: 32))
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
