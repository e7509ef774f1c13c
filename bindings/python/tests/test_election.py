"""The classical methods against the reference vectors."""

import json

import pytest

import libmusig
from libmusig import ElectionMethod, errors
from support import REPOSITORY, keys

PATH = next(path for path in (REPOSITORY / "vectors", REPOSITORY / "tests/vectors") if path.exists()) / "election.json"
CASES = json.loads(PATH.read_text())["cases"]
METHODS = {method.name.lower().replace("_", "-"): method for method in ElectionMethod}


def test_reference_vectors() -> None:
    assert {case["method"] for case in CASES} == set(METHODS) - {"session-salted"}
    for case in CASES:
        signers = case["pubkeys"]
        election = libmusig.elect(signers, METHODS[case["method"]])
        assert election.coordinator == case["coordinatorIndex"], case["name"]
        assert signers[election.coordinator] == case["coordinatorPublicKey"]
        assert election.proof == case["electionProof"]
        assert election.priority_list == case["priorityList"]
        backups = [libmusig.backup_after(election, index) for index in election.priority_list]
        indexed = [libmusig.backup_after(election, index) for index in range(len(signers))]
        assert case["backups"] in (backups, indexed), case
        assert libmusig.verify_election(election, signers)
        election.proof = "00" * 32
        assert not libmusig.verify_election(election, signers)


def test_session_salted() -> None:
    signers = keys(8)
    lists = {tuple(libmusig.elect(signers, ElectionMethod.SESSION_SALTED, f"{n:064x}").priority_list) for n in range(20)}
    assert len(lists) > 10 and all(sorted(each) == list(range(8)) for each in lists)
    with pytest.raises(errors.InvalidArgument):
        libmusig.elect(signers, ElectionMethod.SESSION_SALTED)


def test_errors_are_typed() -> None:
    with pytest.raises(errors.NoSigners):
        libmusig.elect([], ElectionMethod.FIRST_SIGNER)
    with pytest.raises(errors.InvalidArgument) as refused:
        libmusig.elect(["02" + "ff" * 32], ElectionMethod.FIRST_SIGNER)
    assert refused.value.what == "signer key"
    election = libmusig.elect(keys(2), ElectionMethod.FIRST_SIGNER)
    with pytest.raises(errors.IndexOutOfRange) as beyond:
        libmusig.backup_after(election, 2)
    assert (beyond.value.index, beyond.value.signers) == (2, 2)
    assert str(beyond.value) == "signer index 2 is out of range; there are 2 signers, and indices start at 0"
