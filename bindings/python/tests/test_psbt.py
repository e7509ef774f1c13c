"""PSBTs, descriptors, and ready-made Bitcoin backends."""

from __future__ import annotations

import asyncio
import base64

import pytest

import libmusig
from libmusig import ChainSource, Descriptor, Network, Psbt, events
from libmusig.errors import ChainUnreachable, InputRefused, InvalidArgument, InvalidConfig
from support import connect, join_next, key, keys, make, wait_event
from wallet import ADDRESS, DESCRIPTOR, PSBT, TXID, esplora


def test_psbts_are_read_shown_and_written() -> None:
    psbt = Psbt.from_base64(PSBT)
    assert psbt.to_base64() == PSBT and psbt.to_bytes() == base64.b64decode(PSBT)
    assert (psbt.version(), psbt.txid()) == (0, TXID)
    inputs = psbt.inputs(Network.REGTEST)
    assert [each.value for each in inputs] == [60_000, 60_000] and all(each.to_sign for each in inputs)
    assert all(each.participants == [sorted(keys(2))] and not each.is_final for each in inputs)
    outputs = psbt.outputs(Network.REGTEST)
    assert [each.value for each in outputs] == [100_000, 15_000]
    assert outputs[0].address is not None and outputs[0].address.startswith("bcrt1q")
    assert psbt.combined(Psbt.from_bytes(psbt.to_bytes())).to_base64() == PSBT
    for wrong in (b"", b"psbt\xff", psbt.to_bytes()[:-1], psbt.to_bytes() + b"\0"):
        with pytest.raises(InputRefused):
            Psbt.from_bytes(wrong)
    with pytest.raises(InputRefused, match="input 0 is not complete"):
        psbt.extract()
    with pytest.raises(InputRefused, match="2 inputs"):
        psbt.with_signatures([bytes(64)])
    with pytest.raises(InputRefused, match="input 0"):
        psbt.with_signatures([bytes(64), bytes(64)])
    with pytest.raises(InvalidArgument):
        psbt.with_signatures([bytes(63), bytes(64)])


def test_descriptors_have_the_addresses_of_bitcoin_core() -> None:
    descriptor = Descriptor(DESCRIPTOR)
    assert descriptor.address(Network.REGTEST, 3) == ADDRESS
    assert descriptor.branches() == 1 and descriptor.is_ranged()
    made = descriptor.keys(3)
    assert len(made.key_set.participants) == 2 and list(made.derivation.path) == [0, 3]
    assert descriptor.output_script(3).hex() == "5120" + made.key[2:]
    assert Descriptor(descriptor.text()).text() == descriptor.text()
    assert descriptor.key_sets(Psbt.from_base64(PSBT)) == []
    with pytest.raises(InputRefused, match="network"):
        descriptor.address(Network.MAINNET, 3)
    with pytest.raises(InputRefused, match="wsh"):
        Descriptor("wsh(pk(xpub))")


def test_sources_are_set_up_and_answer() -> None:
    with pytest.raises(InvalidConfig):
        libmusig.bitcoin_core("ftp://127.0.0.1", cookie_file="/nowhere/.cookie")
    with pytest.raises(InvalidConfig):
        ChainSource.electrum("127.0.0.1")
    with pytest.raises(InvalidConfig):
        ChainSource.esplora("http://127.0.0.1", libmusig.SourceOptions(certificate_authority=b"none"))
    node = libmusig.bitcoin_core("http://127.0.0.1:9", user="somebody", password="secret")
    assert "127.0.0.1:9" in node.name() and "secret" not in node.name()
    with pytest.raises(ChainUnreachable):
        node.observer().tip()
    with esplora() as (address, submitted):
        all_of_them = ChainSource.combined([ChainSource.esplora(address)], [node])
        tip = all_of_them.observer().tip()
        assert tip is not None and (tip.height, tip.median_time) == (100, 1_700_000_000)
        assert all_of_them.observer().congested() is True
        transaction = libmusig.SignedTransaction(txid=TXID, bytes=b"\x02")
        assert isinstance(all_of_them.broadcaster().submit(transaction), libmusig.Accepted)
        assert submitted == [b"02"]


def test_a_psbt_is_signed_by_two_nodes_and_broadcast_by_a_source() -> None:
    async def run() -> None:
        with esplora() as (address, submitted):
            source = ChainSource.esplora(address)
            options = {"source": source, "without_observer": False}
            async with make(0, **options) as first, make(1, **options) as second:
                await connect(first, second)
                psbt = Psbt.from_base64(PSBT)
                for wrong in (keys(2) + [key(2)], [key(0), key(2)]):
                    with pytest.raises(InputRefused, match="input 0"):
                        await first.create_session(wrong, psbt=psbt)
                with pytest.raises(InvalidArgument):
                    await first.create_session(keys(2), psbt=psbt, messages=[bytes(32)])
                session = await first.create_session(keys(2), psbt=psbt)
                await join_next(second)
                _, complete = await wait_event(first, events.SessionComplete)
                final = psbt.with_signatures(complete.signatures).finalized()
                assert complete.transaction is not None
                assert final.extract().bytes == complete.transaction.bytes
                assert all(each.is_final for each in final.inputs(Network.REGTEST))
                for node in (first, second):
                    _, confirmed = await wait_event(node, events.BroadcastConfirmed)
                    assert confirmed.txid == TXID
                assert submitted == [complete.transaction.bytes.hex().encode()]
                assert (await session.status()).session == session.id()

    asyncio.run(run())
