"""Keys, tweaks, the signer, what is written in the package."""

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import files

import pytest

import libmusig
from libmusig import ElectionMethod, KeyOrder, SignerProblem, errors
from support import key, keys, offline, secret


def test_aggregation() -> None:
    signers = keys(3)
    ordered = libmusig.sort_keys(signers)
    assert ordered == sorted(signers)
    aggregate = libmusig.aggregate_key(signers, KeyOrder.SORTED)
    assert aggregate == libmusig.aggregate_key(list(reversed(signers)), KeyOrder.SORTED)
    assert aggregate == libmusig.aggregate_key(ordered, KeyOrder.AS_GIVEN)
    assert libmusig.synthetic_xpub(aggregate).startswith("xpub")


def test_tweaks() -> None:
    forest = libmusig.TweakForest(libmusig.aggregate_key(keys(2), KeyOrder.SORTED))
    child = forest.derive([0, 5])
    output = forest.taproot(child)
    assert forest.key(output) != forest.key(child) != forest.key()
    assert forest.derive([]) is None
    direct = libmusig.taproot_tweak(forest.key())
    assert direct.x_only and forest.push(direct) == forest.taproot()
    assert len(forest.tweaks()) == 4
    with pytest.raises(errors.ProposalRefused) as hardened:
        forest.derive([1 << 31])
    assert isinstance(hardened.value.problem, libmusig.ProposalProblem.INDEX)
    with pytest.raises(errors.InvalidArgument):
        forest.taproot(merkle_root=b"short")


def test_every_function_that_takes_an_identifier_raises_on_text_that_is_none() -> None:
    async def main() -> None:
        good, signer = keys(2), libmusig.LocalSigner(secret(0))
        election = libmusig.elect(good, ElectionMethod.FIRST_SIGNER)
        async with offline(0) as node:
            session = await node.create_session(good, messages=[bytes(32)])
            for bad in ("", "zz", "02", good[0] + "00", "é"):
                signers = [good[0], bad]
                calls: list[tuple[str, str, Callable[[], object]]] = [
                    ("aggregate_key", "signer key", lambda: libmusig.aggregate_key(signers, KeyOrder.SORTED)),
                    ("sort_keys", "signer key", lambda: libmusig.sort_keys(signers)),
                    ("synthetic_xpub", "signer key", lambda: libmusig.synthetic_xpub(bad)),
                    ("taproot_tweak", "signer key", lambda: libmusig.taproot_tweak(bad)),
                    ("TweakForest", "signer key", lambda: libmusig.TweakForest(bad)),
                    ("elect", "signer key", lambda: libmusig.elect(signers, ElectionMethod.FIRST_SIGNER)),
                    ("elect", "session id", lambda: libmusig.elect(good, ElectionMethod.SESSION_SALTED, bad)),
                    ("verify_election", "signer key", lambda: libmusig.verify_election(election, signers)),
                    ("verify_election", "session id", lambda: libmusig.verify_election(election, good, bad)),
                    ("LocalSigner.forget", "session id", lambda: signer.forget(bad, 0)),
                    ("Node.session", "session id", lambda: node.session(bad)),
                    (
                        "Node.create_session",
                        "signer key",
                        lambda: node.create_session(signers, messages=[bytes(32)]),
                    ),
                    (
                        "Node.create_session",
                        "session id",
                        lambda: node.create_session(good, messages=[bytes(32)], replaces=bad),
                    ),
                    (
                        "Session.notify_broadcast_complete",
                        "transaction id",
                        lambda: session.notify_broadcast_complete(bad),
                    ),
                ]
                for name, what, call in calls:
                    with pytest.raises(errors.InvalidArgument) as refused:
                        result = call()
                        if inspect.isawaitable(result):
                            await result
                        pytest.fail(f"{name} took {bad!r}")
                    assert (refused.value.what, refused.value.reason != "") == (what, True), name
            assert [status.session for status in await node.sessions()] == [session.id()]

    asyncio.run(main())


def test_local_signer() -> None:
    signer = libmusig.LocalSigner(secret(0))
    assert signer.public_key() == key(0)
    assert len(signer.sign(bytes(32))) == 64
    signer.lock()
    assert signer.is_locked()
    with pytest.raises(errors.SignerFailed) as locked:
        signer.sign(bytes(32))
    assert isinstance(locked.value.problem, SignerProblem.LOCKED)
    with pytest.raises(errors.SignerFailed) as wrong:
        signer.unlock(secret(1))
    problem = wrong.value.problem
    assert isinstance(problem, SignerProblem.WRONG_SECRET) and problem.expected == key(0)
    signer.unlock(secret(0))
    assert not signer.is_locked()
    with pytest.raises(errors.SignerFailed):
        libmusig.LocalSigner(bytes(32))
    with pytest.raises(errors.SignerFailed):
        libmusig.LocalSigner(b"short")
    assert libmusig.LocalSigner.generate().public_key() != libmusig.LocalSigner.generate().public_key()


def test_the_package_says_what_it_does() -> None:
    assert libmusig.__version__ == libmusig.library_version()
    assert any(file.name == "py.typed" for file in files("libmusig") or [])
    for name in libmusig.__all__:
        value = getattr(libmusig, name)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), f"{name} has no docstring"
    for method in ("join", "export_session", "broadcast_now"):
        assert inspect.getdoc(getattr(libmusig.Session, method))


def test_proofs_and_proposals_are_checked() -> None:
    with pytest.raises(errors.InputRefused):
        libmusig.verify_proof(b"no proof")
    with pytest.raises(errors.ProposalRefused) as refused:
        libmusig.decode_proposal(b"no proposal")
    assert isinstance(refused.value.problem, libmusig.ProposalProblem.ENCODING)
