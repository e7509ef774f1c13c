import Foundation
import Musig
import XCTest

final class PsbtTests: MusigTestCase {
    /// Two coins of the first test signer's key alone, with the paths 0/1 and 1/2 (BIP-328).
    private let text =
        "cHNidP8BAKYCAAAAAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAAAAD9////AgICAgICAgICAgICAg"
        + "ICAgICAgICAgICAgICAgICAgIBAAAAAP3///8CoIYBAAAAAAAWABRaWlpaWlpaWlpaWlpaWlpaWlpaWpg6AAAAAAAA"
        + "IlEgSViXkGspP/yDSfyC4rQu/1rU8nq2439/Hbt6QJKoLVUAAAAAAAEBK2DqAAAAAAAAIlEg+Me84FL0wayi92WvfV"
        + "l9CNMTLMqZsEpxkjgBjDwypjUhFrQ6togSkuIGXp6JILbToHLeQUSv/O+pO6SpQ3vRzh6QDQAoNEEOAAAAAAEAAAAB"
        + "FyC0OraIEpLiBl6eiSC206By3kFEr/zvqTukqUN70c4ekCIaAjhktGGAcmM1t+y8xb1V3o+JvSt2r3W073JmfGY+Fd"
        + "cPIQJlZm4jehUj4Vb93yS4M19lj5DiEzB3WmebM7ZfuqOOOAABAStg6gAAAAAAACJRIPp5mMQ9bZnXWfFN1uwTnNL3"
        + "LlzZRMtIu4Hs3ZzWbP/CIRaJc5vi6nBoZMk/aVYlQNmQvJnCfkhG34uSetG3p1O9EQ0AKDRBDgEAAAACAAAAARcgiX"
        + "Ob4upwaGTJP2lWJUDZkLyZwn5IRt+LknrRt6dTvREiGgI4ZLRhgHJjNbfsvMW9Vd6Pib0rdq91tO9yZnxmPhXXDyEC"
        + "ZWZuI3oVI+FW/d8kuDNfZY+Q4hMwd1pnmzO2X7qjjjgAAAA="
    private let txid = "5f1a0ba5e8ead3a474a286566eb5f36e6b72409f7d615fb5992130e179dd6f0b"

    /// Fails unless the body is refused in words that have this one.
    private func refuses(_ word: String, line: UInt = #line, _ body: () async throws -> Void) async {
        await assertThrows(
            { if case .InputRefused(let reason) = $0 { reason.contains(word) } else { false } }, line: line, body)
    }

    func testPsbtsAreReadShownAndWritten() async throws {
        let psbt = try Psbt.fromBase64(text: text)
        XCTAssertEqual(psbt.toBase64(), text)
        XCTAssertEqual(try Psbt.fromBytes(bytes: psbt.toBytes()).toBytes(), psbt.toBytes())
        XCTAssertEqual(psbt.version(), 0)
        XCTAssertEqual(psbt.txid(), txid)
        let inputs = try psbt.inputs(network: .regtest)
        XCTAssertEqual(inputs.map(\.value), [60_000, 60_000])
        let own = try keys(1)
        XCTAssertTrue(inputs.allSatisfy { $0.toSign && !$0.isFinal && $0.participants == [own] })
        XCTAssertEqual(psbt.outputs(network: .regtest).map(\.value), [100_000, 15_000])
        await refuses("not a PSBT") { _ = try Psbt.fromBytes(bytes: Data()) }
        await refuses("not complete") { _ = try psbt.extract() }
        await refuses("2 inputs") { _ = try psbt.withSignatures(signatures: []) }
    }

    func testAPsbtIsProposedSignedAndFinalized() async throws {
        let node = try await start(0, offline: true, signer: localSigner(0))
        let watcher = watch(node)
        let psbt = try Psbt.fromBase64(text: text)
        let content = SessionContent.psbt(psbt: psbt.toBytes())
        await refuses("input 0") {
            let others = try [localSigner(1).publicKey()]
            _ = try await node.createSession(request: SessionRequest(signers: others, content: content))
        }
        let own = try keySet(keys: keys(1))
        let session = try await node.createSession(
            request: SessionRequest(signers: keys(1), content: content, keySets: [own]))
        let signatures = try await watcher.complete(session.id())
        let signed = try psbt.withSignatures(signatures: signatures)
        XCTAssertEqual(try psbt.combined(other: signed).toBase64(), signed.toBase64())
        let final = try signed.finalized()
        XCTAssertTrue(try final.inputs(network: .regtest).allSatisfy(\.isFinal))
        XCTAssertEqual(try final.extract().txid, txid)
        let transaction = try await session.finalTransaction()
        XCTAssertEqual(try final.extract().bytes, transaction?.bytes)
    }

    func testDescriptorsHaveTheAddressesOfBitcoinCore() async throws {
        let descriptor = try Descriptor(
            text: "tr(musig("
                + "tpubD6NzVbkrYhZ4XYxGG5zNXe8iHn3tndWYT2xh6EaJYeYEypcsyJRNBzRmZU5NygWKLS6Rtg8BpLmmhf9EsfQdsTKxgaTwcMC9UX7y1m5qGWU,"
                + "tpubD6NzVbkrYhZ4WR79y4g79okceY4aYRSMDynmJL8mMnF3YXJxqzSMc7rZAJkQxi5DAgtjLCsZq8bbHu82B6MEJn2yvFmZ391AWLafSSb8Jh6"
                + ")/0/*)")
        XCTAssertEqual(
            try descriptor.address(network: .regtest, index: 3),
            "bcrt1pqff9x3s6cvytdmedk6jc5jna6hzfp7gn23ru4eejhd87mt0522wsun8k40")
        XCTAssertEqual(try Descriptor(text: descriptor.text()).text(), descriptor.text())
        XCTAssertEqual(descriptor.branches(), 1)
        XCTAssertTrue(descriptor.isRanged())
        let made = try descriptor.keys(index: 3)
        XCTAssertEqual(made.derivation.path, [0, 3])
        XCTAssertEqual(try descriptor.outputScript(index: 3), Data([0x51, 0x20]) + data(made.key).dropFirst())
        XCTAssertEqual(try descriptor.keySets(psbt: Psbt.fromBase64(text: text)), [])
        await refuses("network") { _ = try descriptor.address(network: .mainnet, index: 3) }
        await refuses("wsh") { _ = try Descriptor(text: "wsh(pk(xpub))") }
    }

    func testSourcesAreSetUpAndAnswer() async throws {
        await assertThrows({ if case .InvalidConfig = $0 { true } else { false } }) {
            let options = SourceOptions(certificateAuthority: Data("none".utf8))
            _ = try ChainSource.esplora(address: "https://127.0.0.1", options: options)
        }
        await assertThrows({ if case .InvalidConfig = $0 { true } else { false } }) {
            _ = try ChainSource.electrum(address: "127.0.0.1")
        }
        let core = try ChainSource.bitcoinCore(
            address: "http://127.0.0.1:9", auth: .password(user: "user", password: "secret"))
        XCTAssertTrue(core.name().contains("127.0.0.1:9"))
        XCTAssertFalse(core.name().contains("secret"))
        let esplora = try ChainSource.esplora(address: "http://127.0.0.1:9")
        let source = ChainSource.combined(trusted: [core], submitTo: [esplora])
        await assertThrows({ if case .ChainUnreachable = $0 { true } else { false } }) {
            _ = try source.observer().tip()
        }
        await assertThrows({ if case .ChainUnreachable = $0 { true } else { false } }) {
            _ = try source.observer().congested()
        }
        await assertThrows({ _ in true }) {
            _ = try source.broadcaster().submit(transaction: SignedTransaction(txid: txid, bytes: Data([1])))
        }
    }
}
