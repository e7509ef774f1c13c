"""Commands that need no node: keys, addresses, elections, PSBTs."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from .._ffi import ElectionMethod, LocalSigner, Network, elect
from ..errors import MusigError
from ..group import Group
from ..keys import Derivation, KeyOrder, KeyPath, address, aggregate_key, final_key, key_set, synthetic_xpub
from ..psbt import Descriptor, Psbt
from .output import Output, plain
from .secret import read_secret, write_secret

NETWORKS = {network.name.lower(): network for network in Network}
METHODS = {method.name.lower().replace("_", "-"): method for method in ElectionMethod}


def read_psbt(path: str) -> Psbt:
    """A file with a PSBT: its bytes, or base64 text."""
    data = Path(path).read_bytes()
    try:
        return Psbt.from_bytes(data) if data.startswith(b"psbt\xff") else Psbt.from_base64(data.decode("ascii", "replace"))
    except MusigError as error:
        raise ValueError(f"{path}: {error}") from None


def read_group(path: str) -> Group:
    """A file that ``musig group create`` wrote."""
    return Group.from_json(Path(path).read_text())


def keygen(arguments: argparse.Namespace) -> int:
    """Makes a secret key and writes it to a file that only its owner may read."""
    while True:
        secret = secrets.token_bytes(32)
        try:
            signer = LocalSigner(secret)
            break
        except MusigError:
            continue
    write_secret(arguments.out, secret, arguments.passphrase)
    arguments.output.say(signer.public_key(), {"public_key": signer.public_key(), "file": arguments.out})
    return 0


def pubkey(arguments: argparse.Namespace) -> int:
    """Prints the public key of a secret key."""
    public = read_secret(arguments).public_key()
    arguments.output.say(public, {"public_key": public})
    return 0


def aggregate(arguments: argparse.Namespace) -> int:
    """The keys and the address that a group of signers owns."""
    order = KeyOrder.AS_GIVEN if arguments.as_given else KeyOrder.SORTED
    derivation = Derivation(path=arguments.path, taproot=KeyPath())
    keys = key_set(arguments.keys, order)
    key = aggregate_key(arguments.keys, order)
    output = final_key(keys, derivation)[2:]
    result = {
        "aggregate_key": key,
        "taproot_output_key": output,
        "script_pubkey": f"5120{output}",
        "address": address(keys, derivation, NETWORKS[arguments.network]),
        "xpub": synthetic_xpub(key),
    }
    arguments.output.table(result)
    return 0


def election(arguments: argparse.Namespace) -> int:
    """Who broadcasts, and who follows."""
    result = elect(arguments.keys, METHODS[arguments.method], arguments.session)
    lines = [f"method {arguments.method}, proof {result.proof}"]
    for rank, index in enumerate(result.priority_list):
        lines.append(f"{rank:>4}  signer {index:<4} {arguments.keys[index]}{'  coordinator' if rank == 0 else ''}")
    arguments.output.say("\n".join(lines), {**plain(result), "method": arguments.method})
    return 0


def show_address(arguments: argparse.Namespace) -> int:
    """An address of a descriptor, as ``tr(musig(xpub…,xpub…)/<0;1>/*)``."""
    descriptor = Descriptor(arguments.descriptor)
    made = descriptor.keys(arguments.index, arguments.branch)
    network = NETWORKS[arguments.network]
    shown = descriptor.address(network, arguments.index, arguments.branch)
    result = {
        "address": shown,
        "script_pubkey": descriptor.output_script(arguments.index, arguments.branch).hex(),
        "key": made.key,
        "participants": [participant.key for participant in made.key_set.participants],
        "descriptor": descriptor.text(),
    }
    arguments.output.say(shown, result)
    return 0


def psbt_show(arguments: argparse.Namespace) -> int:
    """What a PSBT spends and pays, and who has signed."""
    shown, network = read_psbt(arguments.file), NETWORKS[arguments.network]
    inputs, outputs = shown.inputs(network), shown.outputs(network)
    lines = [f"PSBT version {shown.version()}, transaction {shown.txid()}"]
    for number, each in enumerate(inputs):
        value = "an unknown amount" if each.value is None else f"{each.value} sat"
        lines.append(f"input {number:<4} {value} of {each.address or 'a script without address'}")
        if each.is_final:
            lines.append("           final")
        for participants in each.participants:
            signed = f"{each.nonces} nonces, {each.partials} partial signatures"
            lines.append(f"           {len(participants)} participants, {signed}")
    for number, output in enumerate(outputs):
        lines.append(f"output {number:<3} {output.value} sat to {output.address or output.script.hex()}")
    spent = [each.value for each in inputs if each.value is not None]
    if len(spent) == len(inputs):
        lines.append(f"fee        {sum(spent) - sum(output.value for output in outputs)} sat")
    record = {"version": shown.version(), "txid": shown.txid(), "inputs": inputs, "outputs": outputs}
    arguments.output.say("\n".join(lines), record)
    return 0


def psbt_update(arguments: argparse.Namespace) -> int:
    """A PSBT with what a wallet knows of its inputs and outputs, so that it can be signed: participants and derivations."""
    if (arguments.group is None) == (arguments.descriptor is None):
        raise ValueError("a PSBT is updated by --group or --descriptor")
    own = Descriptor(arguments.descriptor) if arguments.group is None else read_group(arguments.group).descriptor()
    updated = read_psbt(arguments.file).updated(own, arguments.indices)
    if not any(each.to_sign for each in updated.inputs(Network.MAINNET)):
        raise ValueError(
            f"{arguments.file}: the wallet owns none of its inputs, or it does not say what they spend"
            " (`bitcoin-cli utxoupdatepsbt` adds that); with --indices more addresses are looked at"
        )
    arguments.output.say(updated.to_base64(), {"psbt": updated.to_base64()})
    return 0


def psbt_combine(arguments: argparse.Namespace) -> int:
    """One PSBT with the fields of several of the same transaction."""
    first, *others = [read_psbt(path) for path in arguments.files]
    for other in others:
        first = first.combined(other)
    arguments.output.say(first.to_base64(), {"psbt": first.to_base64()})
    return 0


def psbt_finalize(arguments: argparse.Namespace) -> int:
    """The final PSBT of one that is signed; with --extract, its transaction."""
    final = read_psbt(arguments.file).finalized()
    if arguments.extract:
        transaction = final.extract()
        result = {"txid": transaction.txid, "transaction": transaction.bytes.hex()}
        arguments.output.say(result["transaction"], result)
    else:
        arguments.output.say(final.to_base64(), {"psbt": final.to_base64()})
    return 0
