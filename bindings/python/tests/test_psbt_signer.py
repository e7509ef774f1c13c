"""Participant keys in a device that signs PSBTs: what it is handed, when, and what its answers do."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from libmusig import Derivation, DeviceAccount, KeyOrigin, KeyPath, Psbt, PsbtAnswer, PsbtDevice, PsbtRequest, PsbtSigner
from libmusig import Network, SpentOutput, events, final_key, key_set
from libmusig.errors import InvalidArgument, SignerFailed
from device import Wallet
from support import PATIENCE, connect, covered, join_next, key, make, output_script, secret, wait_event
from wallet import ACCOUNTS

DEVICE = key(20)
"""The device's key; the node has the identity key alone."""

UNSIGNED = bytes.fromhex("0200000001" + "11" * 32 + "0000000000fdffffff01" + "50c30000000000000151" + "00000000")


OUTPUT = final_key(key_set([DEVICE]), Derivation(taproot=KeyPath()))


def spent() -> SpentOutput:
    return SpentOutput(value=60_000, script=bytes.fromhex("5120" + OUTPUT[2:]))


def first_input(psbt: bytes) -> int:
    """Where the map of the first input begins: after the global map. Everything is shorter than 253 bytes."""
    at = 5
    while psbt[at] != 0:
        at += 1 + psbt[at]
        at += 1 + psbt[at]
    return at + 1


def with_nonce(psbt: bytes) -> bytes:
    """The PSBT with a public nonce of the device, by its field of BIP-373: two points that somebody else may know."""
    field = b"\x1b" + bytes.fromhex(DEVICE) + bytes.fromhex(OUTPUT)
    nonce = bytes.fromhex(key(30) + key(31))
    at = first_input(psbt)
    return psbt[:at] + bytes([len(field)]) + field + bytes([len(nonce)]) + nonce + psbt[at:]


class Device(PsbtDevice):
    def __init__(self) -> None:
        self.handed: list[tuple[str, int, int]] = []
        self.cancelled = threading.Event()

    def note(self, request: PsbtRequest) -> None:
        [nonces] = [each.nonces for each in request.psbt().inputs(Network.REGTEST)]
        assert request.keys() == [DEVICE] and not request.again() and not request.is_cancelled()
        assert request.expires_at().timestamp() > time.time()
        self.handed.append((request.session(), request.number(), nonces))

    def add_nonces(self, request: PsbtRequest) -> PsbtAnswer:
        covered("psbtdevice_add_nonces")
        self.note(request)
        if len(self.handed) == 1:
            return PsbtAnswer.UNREACHABLE("plug it in")
        if request.number() == 1:
            return PsbtAnswer.SIGNED(Psbt.from_bytes(with_nonce(request.psbt().to_bytes())))
        while not request.is_cancelled():
            time.sleep(0.002)
        self.cancelled.set()
        return PsbtAnswer.CANCELLED()

    def add_partials(self, request: PsbtRequest) -> PsbtAnswer:
        covered("psbtdevice_add_partials")
        self.note(request)
        raise RuntimeError("out of paper")


def test_psbt_signer_hands_its_device_what_it_is_to_sign() -> None:
    async def failure(node: object, words: str) -> None:
        while True:
            _, failed = await wait_event(node, events.SignerFailed)
            if words in failed.reason:
                return

    async def run() -> None:
        device = Device()
        signer = PsbtSigner(device, [DEVICE])
        node = make(0, psbt_signer=signer)
        async with node:
            session = await node.create_session(
                [key(0)],
                transaction=UNSIGNED,
                spent=[spent()],
                key_sets=[key_set([DEVICE])],
                sign_only=True,
            )
            assert not signer.ask_again("00" * 32)
            await failure(node, "plug it in")
            await wait_event(node, events.SignerWaiting)
            await failure(node, "out of paper")
            assert device.handed == [(session.id(), 1, 0), (session.id(), 1, 0), (session.id(), 2, 1)]
            assert signer.ask_again(session.id())
            until = time.monotonic() + PATIENCE
            while len(device.handed) < 4:
                assert time.monotonic() < until
                await asyncio.sleep(0.005)
            assert device.handed[3] == (session.id(), 3, 0)
        # The node waited for the call.
        assert device.cancelled.is_set()

    asyncio.run(run())


class SigningDevice(PsbtDevice):
    """One that signs."""

    def __init__(self) -> None:
        self.wallet = Wallet(secret(20))

    def add_nonces(self, request: PsbtRequest) -> PsbtAnswer:
        return PsbtAnswer.SIGNED(Psbt.from_bytes(self.wallet.with_nonces(request.psbt().to_bytes())))

    def add_partials(self, request: PsbtRequest) -> PsbtAnswer:
        return PsbtAnswer.SIGNED(Psbt.from_bytes(self.wallet.with_partials(request.psbt().to_bytes())))


def test_psbt_signer_signs_a_whole_session_with_its_device() -> None:
    async def run() -> None:
        both = key_set([DEVICE, key(1)])
        coin = SpentOutput(value=60_000, script=output_script(both, Derivation(taproot=KeyPath())))
        async with make(0, psbt_signer=PsbtSigner(SigningDevice(), [DEVICE])) as first, make(1) as second:
            await connect(first, second)
            terms = {"transaction": UNSIGNED, "spent": [coin], "key_sets": [both], "sign_only": True}
            await first.create_session([key(0), key(1)], **terms)
            await join_next(second)
            signed = []
            for node in (first, second):
                _, complete = await wait_event(node, events.SessionComplete)
                assert complete.transaction is not None
                signed.append(complete.transaction.bytes)
            assert signed[0] == signed[1]

    asyncio.run(run())


def test_psbt_signer_of_a_folder_writes_what_is_to_be_signed(tmp_path: Path) -> None:
    async def run() -> None:
        folder = tmp_path / "card"
        async with make(0, psbt_signer=PsbtSigner.of_folder(str(folder), [DEVICE], psbt_version=2)) as node:
            session = await node.create_session(
                [key(0)],
                transaction=UNSIGNED,
                spent=[spent()],
                key_sets=[key_set([DEVICE])],
                sign_only=True,
            )
            _, waiting = await wait_event(node, events.SignerWaiting)
            assert waiting.round == 1
            asked = folder / f"{session.id()}.1.psbt"
            until = time.monotonic() + PATIENCE
            while not asked.exists():
                assert time.monotonic() < until
                await asyncio.sleep(0.005)
            psbt = asked.read_bytes()
            assert Psbt.from_bytes(psbt).version() == 2
            (folder / f"{session.id()}.1.answer.psbt").write_bytes(with_nonce(psbt))
            while not (folder / f"{session.id()}.2.psbt").exists():
                assert time.monotonic() < until
                await asyncio.sleep(0.005)

    asyncio.run(run())


def test_psbt_signer_refuses_wrong_settings() -> None:
    with pytest.raises(InvalidArgument, match="version"):
        PsbtSigner(Device(), [DEVICE], psbt_version=1)
    origin, _, xpub = ACCOUNTS[0]
    path = [86 + (1 << 31), 1 + (1 << 31), 1 << 31]
    good = KeyOrigin(fingerprint=bytes.fromhex(origin[1:9]), path=path)
    PsbtSigner(Device(), accounts=[DeviceAccount(xpub=xpub, origin=good)])
    wrong = KeyOrigin(fingerprint=good.fingerprint, path=path[:2])
    with pytest.raises(SignerFailed, match="another place"):
        PsbtSigner(Device(), accounts=[DeviceAccount(xpub=xpub, origin=wrong)])
    with pytest.raises(InvalidArgument, match="cannot be created"):
        PsbtSigner.of_folder("/proc/nowhere")
