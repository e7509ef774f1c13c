import Foundation
import Musig
import XCTest

final class ElectionTests: MusigTestCase {
    private struct Vectors: Decodable {
        struct Case: Decodable {
            let name, method: String
            let pubkeys: [String]
            let coordinatorIndex: SignerIndex
            let coordinatorPublicKey, electionProof: String
            let priorityList: [SignerIndex]
            let backups: [SignerIndex?]
        }
        let cases: [Case]
    }

    func testReferenceVectors() throws {
        let methods: [String: ElectionMethod] = [
            "lexicographic": .lexicographic, "hash-based": .hashBased, "first-signer": .firstSigner,
            "last-signer": .lastSigner,
        ]
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let file = root.appendingPathComponent("../../../../tests/vectors/election.json")
        let vectors = try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file))
        XCTAssertGreaterThan(vectors.cases.count, 10)
        for vector in vectors.cases {
            let method = try XCTUnwrap(methods[vector.method])
            let election = try elect(signers: vector.pubkeys, method: method)
            XCTAssertEqual(election.coordinator, vector.coordinatorIndex, vector.name)
            XCTAssertEqual(vector.pubkeys[Int(election.coordinator)], vector.coordinatorPublicKey)
            XCTAssertEqual(election.priorityList, vector.priorityList, vector.name)
            XCTAssertEqual(election.proof, vector.electionProof)
            for (index, backup) in vector.backups.enumerated() {
                XCTAssertEqual(try backupAfter(election: election, index: SignerIndex(index)), backup, vector.name)
            }
            XCTAssertTrue(try verifyElection(election: election, signers: vector.pubkeys))
            var other = election
            other.proof = String(election.proof.reversed())
            XCTAssertFalse(try verifyElection(election: other, signers: vector.pubkeys))
        }
    }

    func testSessionSaltedElectionNeedsTheSession() async throws {
        let signers = try keys(3)
        let id = String(repeating: "ab", count: 32)
        let election = try elect(signers: signers, method: .sessionSalted, session: id)
        let indices: [SignerIndex] = election.priorityList
        XCTAssertEqual(indices.sorted(), [0, 1, 2])
        XCTAssertTrue(try verifyElection(election: election, signers: signers, session: id))
        await assertThrows({ if case .InvalidArgument = $0 { true } else { false } }) {
            _ = try elect(signers: signers, method: .sessionSalted)
        }
        await assertThrows({ if case .NoSigners = $0 { true } else { false } }) {
            _ = try elect(signers: [], method: .lexicographic)
        }
        await assertThrows({ $0 == .IndexOutOfRange(index: 7, signers: 3, reason: $0.reason) }) {
            _ = try backupAfter(election: election, index: 7)
        }
    }
}
