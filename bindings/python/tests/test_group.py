"""Groups: cards of signers, the wallet that they make, and a session of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from libmusig import Group, KeyOrigin, LocalSigner, Message, Network, Psbt, SignerCard, SummaryOptions, cli, events
from libmusig.errors import ConsentRefused, InputRefused, InvalidArgument
from support import connect, join_next, key, keys, make, secret, wait_event
from terminal import Program, Signer, run
from wallet import ACCOUNTS, GROUP_ADDRESS, GROUP_CHANGE_ADDRESS, GROUP_PHRASE, GROUP_PSBT

PATH = [86 + (1 << 31), 1 + (1 << 31), 1 << 31]


def origin(index: int) -> KeyOrigin:
    return KeyOrigin(fingerprint=bytes.fromhex(ACCOUNTS[index][0][1:9]), path=PATH)


def card(index: int, name: str | None = None) -> SignerCard:
    return SignerCard(LocalSigner(secret(index)), ACCOUNTS[index][2], origin(index), name)


def test_group_cards_go_from_one_signer_to_another_as_text() -> None:
    address = "/dns4/alice.example/tcp/4001"
    made = SignerCard(LocalSigner(secret(0)), ACCOUNTS[0][2], origin(0), "Alice", [address])
    for text in (made.text(), made.qr_text(), f" {made.text()}\n"):
        read = SignerCard.parse(text)
        assert (read.identity(), read.xpub(), read.origin()) == (key(0), ACCOUNTS[0][2], origin(0))
        assert (read.name(), read.addresses(), read.is_mainnet()) == ("Alice", [address], False)
        assert read.text() == made.text()
    assert made.text().startswith("musig1") and made.qr_text() == made.text().upper()
    assert card(0).name() is None and card(0).participant_key() != key(0)
    changed = made.text()[:100] + ("p" if made.text()[100] == "q" else "q") + made.text()[101:]
    for wrong in (changed, made.text()[:-1], "", "musig1"):
        with pytest.raises(InputRefused):
            SignerCard.parse(wrong)
    with pytest.raises(InputRefused, match="another place"):
        SignerCard(LocalSigner(secret(0)), ACCOUNTS[0][2], KeyOrigin(fingerprint=bytes(4), path=PATH[:2]))
    with pytest.raises(InvalidArgument):
        SignerCard(LocalSigner(secret(0)), ACCOUNTS[0][2], KeyOrigin(fingerprint=bytes(3), path=PATH))


def test_group_of_the_same_cards_is_the_same_wallet_for_all() -> None:
    group = Group([card(0, "Alice"), card(1)])
    for other in (Group([card(1), card(0)]), Group.from_json(group.to_json())):
        assert other.check_phrase() == GROUP_PHRASE and other.signers() == sorted(keys(2))
        assert other.address(Network.REGTEST, 0) == GROUP_ADDRESS
        assert other.address(Network.REGTEST, 5, True) == GROUP_CHANGE_ADDRESS
        assert other.descriptor().text() == group.descriptor().text() and not other.is_mainnet()
    assert [each.identity() for each in group.cards()] == group.signers()
    assert group.descriptor().address(Network.REGTEST, 5, 1) == GROUP_CHANGE_ADDRESS
    made = group.keys(5, True)
    assert made.key_set == group.key_set() and list(made.derivation.path) == [1, 5]
    with pytest.raises(InputRefused, match="cards 0 and 1"):
        Group([card(0), card(0, "again")])
    with pytest.raises(InputRefused, match="limits are 1"):
        Group([])
    with pytest.raises(InputRefused, match="network"):
        group.address(Network.MAINNET, 0)
    with pytest.raises(InputRefused, match="check phrase"):
        Group.from_json(group.to_json().replace(GROUP_PHRASE, GROUP_PHRASE[::-1]))


def test_group_signs_a_psbt_that_spends_its_coins() -> None:
    async def run() -> None:
        group = Group([card(1), card(0)])
        signers = [LocalSigner(secret(index)) for index in range(2)]
        for index, signer in enumerate(signers):
            signer.add_xprv(ACCOUNTS[index][1], origin(index))
        async with make(0, signer=signers[0]) as first, make(1, signer=signers[1]) as second:
            await connect(first, second)
            with pytest.raises(InputRefused, match="input 0"):
                await first.create_session(Group([card(0)]), psbt=Psbt.from_base64(GROUP_PSBT))
            psbt = Psbt.from_base64(GROUP_PSBT)
            await second.add_descriptor(group.descriptor(), next_index=6)
            [own] = await second.descriptors()
            assert own.descriptor.text() == group.descriptor().text() and (own.next_index, own.gap_limit) == (6, 20)
            # What the descriptor knows of the change.
            updated = psbt.updated(group.descriptor())
            assert len(updated.to_bytes()) > len(psbt.to_bytes())
            assert updated.updated(group.descriptor(), 6).to_base64() == updated.to_base64()
            assert group.request(psbt).signers == group.signers()
            await first.create_session(group, psbt=psbt, sign_only=True)
            proposed = await join_next(second)
            transaction = (await proposed.summary(SummaryOptions(network=Network.REGTEST))).transaction
            assert transaction is not None
            assert [each.own for each in transaction.inputs] == [True, True]
            assert [each.own for each in transaction.outputs] == [False, True]
            _, complete = await wait_event(first, events.SessionComplete)
            psbt.with_signatures(complete.signatures).finalized().extract()
            # A raw message with the wallet's keys may be another transaction of it.
            raw = {"messages": [Message(digest=bytes(32), key_set=1)], "key_sets": [group.key_set()], "sign_only": True}
            await first.add_descriptor(group.descriptor())
            with pytest.raises(ConsentRefused):
                await first.create_session(group.signers(), **raw)
            await first.remove_descriptor(group.descriptor())
            assert await first.descriptors() == []

    asyncio.run(run())


def test_group_signs_a_psbt_by_commands_that_know_their_wallet(tmp_path: Path) -> None:
    file, psbt = tmp_path / "group.json", tmp_path / "spend.psbt"
    file.write_text(Group([card(0), card(1)]).to_json())
    psbt.write_text(GROUP_PSBT)
    one, two = Signer(tmp_path, 0), Signer(tmp_path, 1)
    for index in range(2):
        (tmp_path / f"{index}.xprv").write_text(ACCOUNTS[index][0] + ACCOUNTS[index][1])
    wallet = ("--wallet", file, "--next-index", 6)
    spends = ("--group", file, "--psbt", psbt, "--broadcast", "sign-only", "--until", "complete")
    with Program("propose", *one.network, "--xprv", tmp_path / "0.xprv", *spends, "--psbt-out", tmp_path / "out") as first:
        peer = first.wait(r"^listening +(\S+)")
        options = ("--xprv", tmp_path / "1.xprv", *wallet, "--peer", peer, "--yes", "--network", "regtest", "--until", "complete")
        with Program("join", *two.network, *options) as second:
            assert (first.end(), second.end()) == ((0, ""), (0, ""))
            said = "\n".join(second.lines)
            assert said.count(", your own") == 2 and said.count(", back to yourself") == 1, said
    Psbt.from_base64((tmp_path / "out").read_text()).extract()
    assert "--wallet" in run("join", *two.network, "--wallet", "tr(nothing)", expect=1)


def run_command(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(list(words)) == 0, capsys.readouterr().err
    return capsys.readouterr().out.strip()


def test_group_is_made_and_shown_by_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for index, name in enumerate(["Alice", "Bob\u202e"]):
        (tmp_path / f"{index}.key").write_text(secret(index).hex() + "\n")
        xpub = ACCOUNTS[index][0] + ACCOUNTS[index][2]
        make_card = ["card", "--key", str(tmp_path / f"{index}.key"), "--xpub", xpub, "--name", name]
        texts.append(run_command(capsys, *make_card))
        # Each is signed anew.
        same = json.loads(run_command(capsys, "card", "--show", texts[-1], "--json"))
        again = run_command(capsys, *make_card, "--qr")
        assert again.startswith("MUSIG1") and json.loads(run_command(capsys, "card", "--show", again, "--json")) == same
        (tmp_path / f"{index}.xprv").write_text(ACCOUNTS[index][0] + ACCOUNTS[index][1] + "\n")
        make_card[3:5] = ["--xprv", str(tmp_path / f"{index}.xprv")]
        again = run_command(capsys, *make_card)
        assert json.loads(run_command(capsys, "card", "--show", again, "--json")) == same
    shown = json.loads(run_command(capsys, "card", "--show", texts[1], "--json"))
    assert shown["identity"] == key(1) and shown["xpub"] == ACCOUNTS[1][0] + ACCOUNTS[1][2]
    assert shown["name"] == "Bob\\u202e"
    (tmp_path / "bob.card").write_text(texts[1])
    file = str(tmp_path / "group.json")
    said = run_command(capsys, "group", "create", texts[0], str(tmp_path / "bob.card"), "--out", file)
    assert f"check       {GROUP_PHRASE}" in said and said == run_command(capsys, "group", "show", file)
    shown = json.loads(run_command(capsys, "group", "show", file, "--json"))
    assert shown["check"] == GROUP_PHRASE and [each["identity"] for each in shown["signers"]] == sorted(keys(2))
    assert run_command(capsys, "group", "address", file, "--network", "regtest") == GROUP_ADDRESS
    change = ["group", "address", file, "--network", "regtest", "--change", "--index", "5"]
    assert run_command(capsys, *change) == GROUP_CHANGE_ADDRESS
    # No file is overwritten, no key without its origin is taken, no changed card.
    refused = [
        ["group", "create", *texts, "--out", file],
        ["card", "--key", str(tmp_path / "0.key"), "--xpub", ACCOUNTS[0][2]],
        ["card", "--key", str(tmp_path / "0.key"), "--xpub", "[00000000/86h/4294967296h]" + ACCOUNTS[0][2]],
        ["card", "--show", texts[0][:-1]],
        ["card"],
    ]
    for words in refused:
        assert cli.main(words) == 1
        assert capsys.readouterr().err.startswith("musig: ")
