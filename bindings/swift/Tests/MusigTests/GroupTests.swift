import Foundation
import Musig
import XCTest

final class GroupTests: MusigTestCase {
    /// The accounts m/86h/1h/0h of the first two test signers (seeds of 32 bytes of 1, and of 2).
    private let xprv =
        "tprv8gu9QgkiEYuyJBmqmNeC5KmipxteBE9mumXJAWseqET8Dt5R8ZVSWnkVmFCGZaKEQmDZVoZewD8V5d8YkLzkdJu6CN7gwbpu25knZqEYeQw"
    private let xpubs = [
        "tpubDDbBZ6nxNvbeBeodf2JnUjRqPzQaLZLgV585T2uxFWFX4NLBkxK2hHNMwPxtNoBqbCHwSNci6sgqZzU4h6MydLLw2n9Z2uQhREMzha3YHVH",
        "tpubDCBTMav4AWLFqAAQAz156HuNzTVhyqVbhnfhDqnkGBGZBSBEaJv9HZiJUmkqWg8cHitf7v5cTFBSwipJhzi7csQDHBwGNh6zRcaJ14D6vcQ",
    ]
    private let fingerprints = ["4ba43603", "8dfc9b34"]
    private let path: [UInt32] = [0x8000_0056, 0x8000_0001, 0x8000_0000]

    /// Two coins of the group of the first one alone (0/0, 1/5), and two outputs.
    private let text =
        "cHNidP8BAJECAAAAAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAAAAD9////AgICAgICAgICAgICAgIC"
        + "AgICAgICAgICAgICAgICAgIAAAAAAP3///8CUMMAAAAAAAABUYgNAQAAAAAAIlEgr8hvg3MIbfH5fP9XHF9VymlLTMZB"
        + "/ZLPclw8BuIXPPcAAAAAAAEBK2DqAAAAAAAAIlEgz2POvuHy1d6fbobVcqc0HSkEURFIutpp0irmL7Vrd3QhFosxEiA6"
        + "l0FDYowbl5DugPn2YXOZRYcSK5Gx/9klamc1EQBLpDYDVgAAgAEAAIAAAACAIRb7hwuSUYkDf+zYSlzJqf5qRvnivps7"
        + "zs00rIV1oWvLuw0AmqouIgAAAAAAAAAAARcg+4cLklGJA3/s2Epcyan+akb54r6bO87NNKyFdaFry7siGgLZZYVVuU4L"
        + "iWOYm3diOhaxBuqWFugYhpf3ij9dOZAxRiEDizESIDqXQUNijBuXkO6A+fZhc5lFhxIrkbH/2SVqZzUAAQErYOoAAAAA"
        + "AAAiUSCkRKusrhgqFlILn6JGnV7Ui1Sv3bawY7N7L/xiS1kJ2yEWNrQWTUW3SHApCzJFTbZ4jz88yGDaaUHn2z8FdRC8"
        + "cqsNAJqqLiIBAAAABQAAACEWizESIDqXQUNijBuXkO6A+fZhc5lFhxIrkbH/2SVqZzURAEukNgNWAACAAQAAgAAAAIAB"
        + "FyA2tBZNRbdIcCkLMkVNtniPPzzIYNppQefbPwV1ELxyqyIaAtllhVW5TguJY5ibd2I6FrEG6pYW6BiGl/eKP105kDFG"
        + "IQOLMRIgOpdBQ2KMG5eQ7oD59mFzmUWHEiuRsf/ZJWpnNQAAAA=="

    private func origin(_ index: Int) -> KeyOrigin {
        KeyOrigin(fingerprint: data(fingerprints[index]), path: path)
    }

    private func card(_ index: Int, name: String? = nil, addresses: [String] = []) throws -> SignerCard {
        try SignerCard(
            signer: localSigner(index), xpub: xpubs[index], origin: origin(index), name: name, addresses: addresses)
    }

    /// Fails unless the body is refused in words that have this one.
    private func refuses(_ word: String, line: UInt = #line, _ body: () async throws -> Void) async {
        await assertThrows(
            { if case .InputRefused(let reason) = $0 { reason.contains(word) } else { false } }, line: line, body)
    }

    func testGroupCardsGoFromOneSignerToAnotherAsText() async throws {
        let made = try card(0, name: "Alice", addresses: ["/dns4/alice.example/tcp/4001"])
        for text in [made.text(), made.qrText()] {
            let read = try SignerCard.parse(text: text)
            XCTAssertEqual(read.identity(), try keys(1)[0])
            XCTAssertEqual(read.xpub(), xpubs[0])
            XCTAssertEqual(read.origin(), origin(0))
            XCTAssertEqual(read.name(), "Alice")
            XCTAssertFalse(read.isMainnet())
            XCTAssertNotEqual(read.participantKey(), read.identity())
            XCTAssertEqual(read.addresses(), ["/dns4/alice.example/tcp/4001"])
        }
        XCTAssertTrue(made.text().hasPrefix("musig1"))
        XCTAssertNil(try card(0).name())
        await refuses("checksum") { _ = try SignerCard.parse(text: String(made.text().dropLast())) }
        await refuses("another place") {
            let wrong = KeyOrigin(fingerprint: data(fingerprints[0]), path: [path[0]])
            _ = try SignerCard(signer: localSigner(0), xpub: xpubs[0], origin: wrong)
        }
    }

    func testGroupOfTheSameCardsIsTheSameWalletForAll() async throws {
        let cards = try [card(0), card(1)]
        let group = try Group(cards: cards)
        for other in try [group, Group(cards: cards.reversed()), Group.fromJson(text: group.toJson())] {
            XCTAssertEqual(other.checkPhrase(), "gotis lonof tihad pilan losuk dunum bolim hipis")
            XCTAssertEqual(
                try other.address(network: .regtest, index: 0),
                "bcrt1pwvgqslc0n3hc2gggd7s0mfpksn9rufpwx6kvpnvh28hg737f8m7spvaeqq")
            XCTAssertEqual(
                try other.address(network: .regtest, index: 5, change: true),
                "bcrt1prkx65a25s0wml9zx7zrah94ajcag08xudu20qq5rxh6gjqpfny8s9fse89")
            XCTAssertEqual(other.signers(), try keys(2).sorted())
            XCTAssertEqual(other.cards().map { $0.identity() }, other.signers())
        }
        XCTAssertEqual(
            try group.descriptor().address(network: .regtest, index: 5, branch: 1),
            try group.address(network: .regtest, index: 5, change: true))
        XCTAssertEqual(try group.keys(index: 5, change: true).derivation.path, [1, 5])
        XCTAssertEqual(try group.keys(index: 5, change: true).keySet, group.keySet())
        XCTAssertFalse(group.isMainnet())
        await refuses("cards 0 and 1") { _ = try Group(cards: [cards[0], cards[0]]) }
        await refuses("network") { _ = try group.address(network: .mainnet, index: 0) }
        await refuses("no list") { _ = try Group.fromJson(text: "{\"musig_group\": 1}") }
    }

    func testGroupSignsAPsbtThatSpendsItsCoins() async throws {
        let own = try localSigner(0)
        try own.addXprv(xprv: xprv, origin: origin(0))
        let node = try await start(0, offline: true, signer: own)
        let watcher = watch(node)
        let psbt = try Psbt.fromBase64(text: text)
        let group = try Group(cards: [card(0)])
        try await node.addDescriptor(descriptor: group.descriptor(), nextIndex: 6)
        let kept = try await node.descriptors()
        XCTAssertEqual(kept.map { $0.descriptor.text() }, [group.descriptor().text()])
        XCTAssertEqual(kept.map { [$0.nextIndex, $0.gapLimit] }, [[6, 20]])
        // What the descriptor knows of the change.
        let updated = try psbt.updated(descriptor: group.descriptor())
        XCTAssertGreaterThan(updated.toBytes().count, psbt.toBytes().count)
        XCTAssertEqual(
            try updated.updated(descriptor: group.descriptor(), indices: 6).toBase64(), updated.toBase64())
        let session = try await node.createSession(request: group.request(psbt: psbt))
        let summary = try await session.summary(options: SummaryOptions(network: .regtest))
        XCTAssertEqual(summary.transaction?.inputs.map(\.own), [true, true])
        XCTAssertEqual(summary.transaction?.outputs.map(\.own), [false, true])
        let signatures = try await watcher.complete(session.id())
        _ = try psbt.withSignatures(signatures: signatures).finalized().extract()
        try await node.removeDescriptor(descriptor: group.descriptor())
        let left = try await node.descriptors()
        XCTAssertTrue(left.isEmpty)
    }
}
