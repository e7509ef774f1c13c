"""Keys, tweaks, the signer, what is written in the package."""

import inspect
from importlib.metadata import files

import pytest

import libmusig
from libmusig import KeyOrder, SignerProblem, errors
from support import key, keys, secret


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
