"""A signer by btclib-wallet: adds nonces and partial signatures to PSBTs, one on each line of its input.

A line is `nonces`, `partials` or `wrong` (partial signatures that do not verify), then a PSBT in base64; the answer is
one line of base64. The secret key is the first argument, in hexadecimal. Secret nonces stay in memory, and are used once.
"""

import sys

from btclib_wallet.psbt.musig2 import nonce_gen, partial_sign
from btclib_wallet.psbt.psbt import Psbt
from ecc.ecc import musig2

secret = int(sys.argv[1], 16)
own = musig2.individual_pub_key(secret)
nonces = {}


def places(psbt):
    """The inputs with aggregate keys that this signer's key is part of."""
    for index, psbt_in in enumerate(psbt.inputs):
        for aggregate, participants in psbt_in.musig2_participant_pub_keys.items():
            if own in participants:
                yield index, psbt_in, aggregate


def own_field(fields):
    return next(value for key, value in fields.items() if key[:33] == own)


for line in sys.stdin:
    command, text = line.split()
    psbt = Psbt.b64decode(text)
    for index, psbt_in, aggregate in places(psbt):
        if command == "nonces":
            kept = nonce_gen(psbt, index, secret, aggregate)
            nonces[bytes(own_field(psbt_in.musig2_pub_nonces))] = kept
        else:
            kept = nonces.pop(bytes(own_field(psbt_in.musig2_pub_nonces)))
            partial_sign(psbt, index, kept, secret, aggregate, require_non_witness_utxo=False)
            if command == "wrong":
                key = next(key for key in psbt_in.musig2_partial_sigs if key[:33] == own)
                partial = psbt_in.musig2_partial_sigs[key]
                psbt_in.musig2_partial_sigs[key] = partial[:-1] + bytes([partial[-1] ^ 1])
    print(psbt.b64encode(), flush=True)
