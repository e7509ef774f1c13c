"""A device that signs PSBTs with a key of its own: MuSig2 (BIP-327, BIP-341, BIP-373) in plain Python, which is not libmusig's.

For tests alone: it takes its time, and not always the same.
"""

from __future__ import annotations

import hashlib
import secrets

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Point = tuple[int, int] | None
G: Point = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = 3 * x1 * x1 * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def multiply(number: int, point: Point) -> Point:
    product: Point = None
    for bit in bin(number % N)[2:]:
        product = add(product, product)
        if bit == "1":
            product = add(product, point)
    return product


def parse(key: bytes) -> Point:
    x = int.from_bytes(key[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    return x, y if y % 2 == key[0] % 2 else P - y


def compressed(point: Point) -> bytes:
    assert point is not None
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def is_even(point: Point) -> bool:
    return compressed(point)[0] == 2


def tagged(tag: str, data: bytes) -> bytes:
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Fields:
    """The maps of a PSBT of version 0 with one input; nothing in it is longer than 252 bytes."""

    def __init__(self, psbt: bytes) -> None:
        self.maps: list[dict[bytes, bytes]] = [{}]
        at = 5
        while at < len(psbt):
            if psbt[at] == 0:
                at += 1
                self.maps.append({})
                continue
            key = psbt[at + 1 : at + 1 + psbt[at]]
            at += 1 + len(key)
            self.maps[-1][key] = psbt[at + 1 : at + 1 + psbt[at]]
            at += 1 + psbt[at]
        self.maps.pop()

    def write(self) -> bytes:
        made = b"psbt\xff"
        for fields in self.maps:
            for key, value in sorted(fields.items()):
                made += bytes([len(key)]) + key + bytes([len(value)]) + value
            made += b"\0"
        return made

    def of_type(self, kind: int) -> dict[bytes, bytes]:
        """Those of the input, by their key data."""
        return {key[1:]: value for key, value in self.maps[1].items() if key[0] == kind}

    def sighash(self) -> bytes:
        """What the input's signature signs (BIP-341, SIGHASH_DEFAULT)."""
        transaction, spent = self.maps[0][b"\0"], self.maps[1][b"\1"]
        hashed = [transaction[5:41], spent[:8], spent[8:], transaction[42:46], transaction[47:-4]]
        start = b"\0\0" + transaction[:4] + transaction[-4:]
        return tagged("TapSighash", start + b"".join(map(sha256, hashed)) + b"\0" + bytes(4))


class Wallet:
    """One secret key, and the secret nonces that were not used yet."""

    def __init__(self, secret: bytes) -> None:
        self.secret = number(secret)
        self.public = compressed(multiply(self.secret, G))
        self.nonces: dict[bytes, tuple[int, int]] = {}

    def keys(self, fields: Fields) -> tuple[int, int, bytes]:
        """The own coefficient, the sign of the aggregate key, and the output key."""
        [(_, participants)] = fields.of_type(0x1A).items()
        keys = [participants[at : at + 33] for at in range(0, len(participants), 33)]
        both = tagged("KeyAgg list", participants)
        second = next((key for key in keys if key != keys[0]), None)
        coefficients = {key: 1 if key == second else number(tagged("KeyAgg coefficient", both + key)) for key in keys}
        aggregate: Point = None
        for key in keys:
            aggregate = add(aggregate, multiply(coefficients[key], parse(key)))
        sign = 1 if is_even(aggregate) else -1
        tweak = number(tagged("TapTweak", compressed(aggregate)[1:]))
        output = add(multiply(sign, aggregate), multiply(tweak, G))
        return coefficients[self.public], sign, compressed(output)

    def with_nonces(self, psbt: bytes) -> bytes:
        fields = Fields(psbt)
        slot = self.public + self.keys(fields)[2]
        secret = (1 + secrets.randbelow(N - 1), 1 + secrets.randbelow(N - 1))
        public = b"".join(compressed(multiply(each, G)) for each in secret)
        self.nonces[public] = secret
        fields.maps[1][b"\x1b" + slot] = public
        return fields.write()

    def with_partials(self, psbt: bytes) -> bytes:
        fields = Fields(psbt)
        coefficient, sign, output = self.keys(fields)
        nonces, message = fields.of_type(0x1B), fields.sighash()
        first, second = self.nonces.pop(nonces[self.public + output])
        sums: list[Point] = [None, None]
        for nonce in nonces.values():
            sums = [add(sums[0], parse(nonce[:33])), add(sums[1], parse(nonce[33:]))]
        binding = number(tagged("MuSig/noncecoef", b"".join(map(compressed, sums)) + output[1:] + message))
        total = add(sums[0], multiply(binding, sums[1]))
        challenge = number(tagged("BIP0340/challenge", compressed(total)[1:] + output[1:] + message))
        nonce = first + binding * second
        if not is_even(total):
            nonce = -nonce
        secret = sign * self.secret if output[0] == 2 else -sign * self.secret
        partial = (nonce + challenge * coefficient * secret) % N
        fields.maps[1][b"\x1c" + self.public + output] = partial.to_bytes(32, "big")
        return fields.write()
