"""Keys, derivations, the signer, what is written in the package."""

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import files

import pytest

import libmusig
from libmusig import (
    Derivation,
    ElectionMethod,
    KeyOrder,
    KeyOrigin,
    KeyPath,
    KeySet,
    MerkleRoot,
    Network,
    Participant,
    ProposalProblem,
    SignerProblem,
    errors,
    events,
)
from support import connect, key, keys, make, offline, secret, wait_event


def test_aggregation() -> None:
    signers = keys(3)
    ordered = libmusig.sort_keys(signers)
    assert ordered == sorted(signers)
    aggregate = libmusig.aggregate_key(signers, KeyOrder.SORTED)
    assert aggregate == libmusig.aggregate_key(list(reversed(signers)), KeyOrder.SORTED)
    assert aggregate == libmusig.aggregate_key(ordered, KeyOrder.AS_GIVEN)
    assert libmusig.synthetic_xpub(aggregate).startswith("xpub")


def test_key_sets_and_their_derivations() -> None:
    signers = keys(2)
    key_set = libmusig.key_set(signers)
    assert [part.key for part in key_set.participants] == signers and key_set.order is KeyOrder.SORTED
    as_given = libmusig.key_set(list(reversed(libmusig.sort_keys(signers))), KeyOrder.AS_GIVEN)
    aggregate = libmusig.aggregate_key(signers, KeyOrder.SORTED)
    assert libmusig.final_key(key_set, Derivation()) == aggregate
    derivations = [
        Derivation(path=path, taproot=taproot)
        for path in ([], [0, 5], [0, 6], [1 << 30])
        for taproot in (None, KeyPath(), MerkleRoot(bytes(32)), MerkleRoot(bytes([1] * 32)))
    ]
    made = {libmusig.final_key(each, derivation)[2:] for each in (key_set, as_given) for derivation in derivations}
    assert len(made) == 2 * len(derivations)
    for network, prefix in zip(Network, ("bc1p", "tb1p", "tb1p", "bcrt1p")):
        addresses = {libmusig.address(key_set, derivation, network) for derivation in derivations}
        assert len(addresses) == len(derivations) and all(each.startswith(prefix) for each in addresses)


def test_keys_that_no_session_signs_with_are_not_made() -> None:
    good = libmusig.key_set(keys(2))
    twice = KeySet(participants=[Participant(key=key(0)), Participant(key=key(1)), Participant(key=key(0))])
    none = KeySet(participants=[])
    hardened = Derivation(path=[0, 1 << 31])
    deep = Derivation(path=[0] * 9)

    def problem(call: Callable[[], object]) -> object:
        with pytest.raises(errors.ProposalRefused) as refused:
            call()
        return refused.value.problem

    makers: list[Callable[[KeySet, Derivation], object]] = [
        libmusig.final_key,
        lambda key_set, derivation: libmusig.address(key_set, derivation, Network.SIGNET),
    ]
    for make in makers:
        assert problem(lambda: make(twice, Derivation())) == ProposalProblem.DUPLICATE_KEY(0, 2)
        assert problem(lambda: make(good, hardened)) == ProposalProblem.HARDENED_CHILD(1 << 31)
        assert isinstance(problem(lambda: make(none, Derivation())), ProposalProblem.LIMIT)
        assert isinstance(problem(lambda: make(good, deep)), ProposalProblem.LIMIT)
        with pytest.raises(errors.InvalidArgument) as short:
            make(good, Derivation(taproot=MerkleRoot(b"short")))
        assert short.value.what == "the merkle root"
        with pytest.raises(errors.InvalidArgument) as fingerprint:
            origin = KeyOrigin(fingerprint=b"123", path=[])
            make(KeySet(participants=[Participant(key=key(0), origin=origin)]), Derivation())
        assert fingerprint.value.what == "a fingerprint"
    assert problem(lambda: libmusig.key_set([key(0), key(0)])) == ProposalProblem.DUPLICATE_KEY(0, 1)
    repeated = problem(lambda: libmusig.aggregate_key([key(0), key(0)], KeyOrder.SORTED))
    assert repeated == ProposalProblem.DUPLICATE_KEY(0, 1)


def test_every_function_that_takes_an_identifier_raises_on_text_that_is_none() -> None:
    async def main() -> None:
        good, signer = keys(2), libmusig.LocalSigner(secret(0))
        election = libmusig.elect(good, ElectionMethod.FIRST_SIGNER)
        async with offline(0) as node:
            session = await node.create_session(good, messages=[bytes(32)])
            for bad in ("", "zz", "02", good[0] + "00", "é"):
                signers = [good[0], bad]
                malformed = KeySet(participants=[Participant(key=each) for each in signers])
                calls: list[tuple[str, str, Callable[[], object]]] = [
                    ("aggregate_key", "signer key", lambda: libmusig.aggregate_key(signers, KeyOrder.SORTED)),
                    ("sort_keys", "signer key", lambda: libmusig.sort_keys(signers)),
                    ("synthetic_xpub", "signer key", lambda: libmusig.synthetic_xpub(bad)),
                    ("key_set", "signer key", lambda: libmusig.key_set(signers)),
                    ("final_key", "signer key", lambda: libmusig.final_key(malformed, Derivation())),
                    ("address", "signer key", lambda: libmusig.address(malformed, Derivation(), Network.SIGNET)),
                    ("elect", "signer key", lambda: libmusig.elect(signers, ElectionMethod.FIRST_SIGNER)),
                    ("elect", "session id", lambda: libmusig.elect(good, ElectionMethod.SESSION_SALTED, bad)),
                    ("verify_election", "signer key", lambda: libmusig.verify_election(election, signers)),
                    ("verify_election", "session id", lambda: libmusig.verify_election(election, good, bad)),
                    ("LocalSigner.holds", "signer key", lambda: signer.holds(bad)),
                    ("LocalSigner.forget", "session id", lambda: signer.forget(bad, 0)),
                    ("Node.session", "session id", lambda: node.session(bad)),
                    (
                        "Node.create_session",
                        "signer key",
                        lambda: node.create_session(signers, messages=[bytes(32)]),
                    ),
                    (
                        "Node.create_session",
                        "signer key",
                        lambda: node.create_session(good, messages=[bytes(32)], key_sets=[malformed]),
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
    signer.lock()
    assert signer.is_locked()
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


def test_a_signer_holds_its_participant_keys() -> None:
    signer = libmusig.LocalSigner(secret(0))
    assert signer.holds(key(0)) and not signer.holds(key(1))
    assert signer.add_key(secret(1)) == key(1)
    # From then on its identity key signs no session.
    assert signer.holds(key(1)) and not signer.holds(key(0)) and signer.public_key() == key(0)
    for bad in (bytes(32), b"short"):
        with pytest.raises(errors.SignerFailed) as invalid:
            signer.add_key(bad)
        assert isinstance(invalid.value.problem, SignerProblem.INVALID_SECRET)
    signer.lock()
    assert signer.holds(key(1)), "a locked signer knows what it holds"


def test_key_sets_of_keys_below_an_xprv() -> None:
    """The first vector of BIP-32."""
    xprv = (
        "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4c"
        "V1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7"
    )
    below = "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c"
    fingerprint = bytes.fromhex("3442193e")
    account = KeyOrigin(fingerprint=fingerprint, path=[0x80000000])
    origin = KeyOrigin(fingerprint=fingerprint, path=[0x80000000, 1])
    signer = libmusig.LocalSigner(secret(0))
    for text, wrong in (("xprv", account), (xprv, origin)):
        with pytest.raises(errors.SignerFailed) as invalid:
            signer.add_xprv(text, wrong)
        assert isinstance(invalid.value.problem, SignerProblem.INVALID_XPRV)
    assert signer.holds(key(0))
    signer.add_xprv(xprv, account)
    assert signer.holds(below, origin) and not signer.holds(below) and not signer.holds(key(0))
    signer.lock()
    assert signer.holds(below, origin)


def test_a_refused_proposal_is_reported_with_its_proposer_and_the_reason() -> None:
    async def main() -> None:
        async with make(0) as a, make(1) as b:
            await connect(a, b)
            # Nobody holds the second key, in whose place the other node is.
            strange = libmusig.KeySet(participants=[libmusig.Participant(key=key(index)) for index in (0, 20)])
            message = libmusig.Message(digest=bytes(32), key_set=1)
            session = await a.create_session(keys(2), messages=[message], key_sets=[strange])
            event, refused = await wait_event(b, events.ProposalRefused)
            assert (event.session, event.durable) == (session.id(), False)
            assert refused.proposer == key(0)
            assert "does not hold the participant key" in refused.reason

    asyncio.run(main())


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
