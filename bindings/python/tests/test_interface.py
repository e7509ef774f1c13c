"""What holds for every function of the interface, read from the generated half. All languages have the same."""

from __future__ import annotations

import ast
import pydoc
from pathlib import Path

import libmusig
from libmusig import ElectionMethod, events
from libmusig._ffi import musig as generated
from support import keys

MODULE = ast.parse(Path(generated.__file__).read_text())
CONVERTER = "_UniffiFfiConverter"


def names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def parsed_converters() -> set[str]:
    """The converters of types that are text in the languages and are parsed by the library, which can fail; and those
    of everything that contains one."""
    aliases = {
        node.targets[0].id
        for node in MODULE.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Name)
        and node.value.id == "str"
    }
    uses = {
        node.name: names(node)
        for node in MODULE.body
        if isinstance(node, ast.ClassDef) and node.name.startswith(CONVERTER)
    }
    found = {f"{CONVERTER}Type{alias}" for alias in aliases} & uses.keys()
    while True:
        more = {name for name, used in uses.items() if name not in found and used & found}
        if not more:
            return found
        found |= more


def calls() -> list[tuple[str, set[str], set[str]]]:
    """Each function that calls the library: its name, its arguments' converters, its error's."""
    found = []
    for node in ast.walk(MODULE):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        assigned = {
            part.targets[0].id: part.value
            for part in node.body
            if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name)
        }
        if "_uniffi_error_converter" in assigned:
            [symbol] = [
                part.attr
                for part in ast.walk(node)
                if isinstance(part, ast.Attribute) and part.attr.startswith("uniffi_libmusig_fn_")
            ]
            arguments = assigned.get("_uniffi_lowered_args", ast.Tuple(elts=[]))
            found.append((symbol, names(arguments), names(assigned["_uniffi_error_converter"])))
    return found


def test_every_function_that_parses_an_argument_can_raise() -> None:
    parsed = parsed_converters()
    for kind in ("SessionId", "SignerKey", "Txid", "SessionRequest"):
        assert f"{CONVERTER}Type{kind}" in parsed
    taking = [(symbol, errors) for symbol, arguments, errors in calls() if arguments & parsed]
    # Those of the foreign traits, which the library calls, have no place here.
    assert len(taking) >= 11 and len(calls()) > 60
    silent = [symbol for symbol, errors in taking if f"{CONVERTER}TypeMusigError" not in errors]
    assert silent == [], "these trap in Swift, and are internal errors elsewhere, if their text is malformed"
    assert libmusig.errors.UnknownSession("no id", "made by the application").is_retryable is False


INDICES = {
    *("coordinator", "priority_list", "proposer", "own_index", "accepted", "missing", "current", "failed", "next"),
    *("coordinators", "culprits", "by", "first", "second"),
}
NUMBERS = {"rank", "turn", "turns", "attempt", "key_set", "input", "joined", "signers", "watch"}


def test_signer_indices_have_a_type_of_their_own_and_other_numbers_have_not() -> None:
    seen = set()
    for node in ast.walk(MODULE):
        for made in node.body if isinstance(node, ast.ClassDef) else []:
            if not isinstance(made, ast.FunctionDef) or made.name != "__init__":
                continue
            # It says which of two key sets.
            indices = set() if node.name == "SAME_KEY_SET" else INDICES
            # Signers accept a proposal, and a backend accepts submissions.
            if node.name in ("FAILOVER_EXHAUSTED", "NOBODY_CAN_BROADCAST"):
                indices = indices - {"accepted"}
            # No session, so its proposer has a key and no index.
            if node.name == "PROPOSAL_REFUSED":
                indices = indices - {"proposer"}
            # By nobody that is known, or by this node, or by a signer.
            if node.name in ("BROADCAST_SEEN", "BROADCAST_CONFIRMED"):
                indices = indices - {"by"}
            for argument in made.args.args + made.args.kwonlyargs:
                if argument.annotation is not None and argument.arg in INDICES | NUMBERS:
                    typed = "SignerIndex" in names(argument.annotation)
                    assert typed == (argument.arg in indices), f"{argument.arg}, line {made.lineno}"
                    seen.add(argument.arg)
    assert seen == INDICES | NUMBERS
    assert libmusig.SignerIndex is int
    assert isinstance(libmusig.elect(keys(2), ElectionMethod.FIRST_SIGNER).coordinator, libmusig.SignerIndex)


def test_help_shows_each_event_with_its_words_and_fields() -> None:
    variants = {name.replace("_", "") for name in vars(generated.Event) if name.isupper()}
    shown = {name for name in events.__all__ if name != "EventData"}
    assert {name.upper() for name in shown} == variants
    for name in shown:
        event = getattr(events, name)
        assert (event.__name__, event.__module__) == (name, "libmusig.events")
        words, fields = event.__doc__.split("\n\n")
        assert len(words) > 10 and fields.startswith("Fields: "), event.__doc__
    text = pydoc.render_doc(events, renderer=pydoc.plaintext)
    assert "class SessionComplete" in text and "Fields: signatures, transaction, priority_list" in text
    assert "Union" not in text.split("CLASSES")[0]
