"""A PSBT of the first two test signers, a descriptor, and an Esplora server on loopback that takes one transaction."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PSBT = (
    "cHNidP8BAKYCAAAAAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAAAAD9////AgICAgICAgICAgICAgICAgICAgIC"
    "AgICAgICAgICAgIBAAAAAP3///8CoIYBAAAAAAAWABRaWlpaWlpaWlpaWlpaWlpaWlpaWpg6AAAAAAAAIlEgY4Z8dfr0h1fEFOH7"
    "qGwso/j5Km86jAO/MXq4O4eSA7UAAAAAAAEBK2DqAAAAAAAAIlEg23PCU++i33HlZhwkcqZgR8yguziKdC+yxlhZ8XvEriAhFrX8"
    "sSd1l6ZoqW+bzXWm5f0yJj9RWShTqpMLsFRimsE1DQBGgk3AAAAAAAEAAAABFyC1/LEndZemaKlvm811puX9MiY/UVkoU6qTC7BU"
    "YprBNSIaAoD6eslIlkXQHDrD9d/EEfLrZMpPE1Tf/HblbuHDkO0wQgJlZm4jehUj4Vb93yS4M19lj5DiEzB3WmebM7ZfuqOOOANg"
    "YoL61SD6JLvN2A6AoFK7AUbC0vzo+WNXnNowg4iMfgABAStg6gAAAAAAACJRIORkFh1XZXpCQUJ2yDm+DJdTLK/bnm1NlUPMLe1x"
    "POZ8IRZwIIL3NJ6MJBYZ8CjhloZkYidJx3tVhQDfeiC1+Li5iQ0ARoJNwAEAAAACAAAAARcgcCCC9zSejCQWGfAo4ZaGZGInScd7"
    "VYUA33ogtfi4uYkiGgKA+nrJSJZF0Bw6w/XfxBHy62TKTxNU3/x25W7hw5DtMEICZWZuI3oVI+FW/d8kuDNfZY+Q4hMwd1pnmzO2"
    "X7qjjjgDYGKC+tUg+iS7zdgOgKBSuwFGwtL86PljV5zaMIOIjH4AAAA="
)
"""Two coins of 60 000 sat of the identity keys' aggregate, with the paths 0/1 and 1/2 (BIP-328), and two outputs."""

TXID = "61fdaf3cf48f645ab84c88b1b27400785a252ca12d9cf21dbdc212c1fc8024ac"

DESCRIPTOR = (
    "tr(musig("
    "tpubD6NzVbkrYhZ4XYxGG5zNXe8iHn3tndWYT2xh6EaJYeYEypcsyJRNBzRmZU5NygWKLS6Rtg8BpLmmhf9EsfQdsTKxgaTwcMC9UX7y1m5qGWU,"
    "tpubD6NzVbkrYhZ4WR79y4g79okceY4aYRSMDynmJL8mMnF3YXJxqzSMc7rZAJkQxi5DAgtjLCsZq8bbHu82B6MEJn2yvFmZ391AWLafSSb8Jh6"
    ")/0/*)"
)
ADDRESS = "bcrt1pqff9x3s6cvytdmedk6jc5jna6hzfp7gn23ru4eejhd87mt0522wsun8k40"
"""That of index 3, as Bitcoin Core has it."""

ACCOUNTS = [
    (
        "[4ba43603/86h/1h/0h]",
        "tprv8gu9QgkiEYuyJBmqmNeC5KmipxteBE9mumXJAWseqET8Dt5R8ZVSWnkVmFCGZaKEQmDZVoZewD8V5d8YkLzkdJu6CN7gwbpu25knZqEYeQw",
        "tpubDDbBZ6nxNvbeBeodf2JnUjRqPzQaLZLgV585T2uxFWFX4NLBkxK2hHNMwPxtNoBqbCHwSNci6sgqZzU4h6MydLLw2n9Z2uQhREMzha3YHVH",
    ),
    (
        "[8dfc9b34/86h/1h/0h]",
        "tprv8fVRDAsp28eawh8cHLLUgtFGRRympWJh8V4uwKkSquUALwvTwv6Z756SJdCi9Rz6WvtSJ6sw2WwM6bBPsB8obsc75HCr6BAAQ9vJJfGF3HE",
        "tpubDCBTMav4AWLFqAAQAz156HuNzTVhyqVbhnfhDqnkGBGZBSBEaJv9HZiJUmkqWg8cHitf7v5cTFBSwipJhzi7csQDHBwGNh6zRcaJ14D6vcQ",
    ),
]
"""The accounts m/86h/1h/0h of the first two test signers (seeds of 32 bytes of 1, and of 2): origin, private, public."""

GROUP_PHRASE = "gotis lonof tihad pilan losuk dunum bolim hipis"
GROUP_ADDRESS = "bcrt1pwvgqslc0n3hc2gggd7s0mfpksn9rufpwx6kvpnvh28hg737f8m7spvaeqq"
GROUP_CHANGE_ADDRESS = "bcrt1prkx65a25s0wml9zx7zrah94ajcag08xudu20qq5rxh6gjqpfny8s9fse89"
"""Those of index 0, and of index 5 of change, on regtest."""

GROUP_PSBT = (
    "cHNidP8BAJECAAAAAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAAAAD9////AgICAgICAgICAgICAgICAgICAgIC"
    "AgICAgICAgICAgIAAAAAAP3///8CUMMAAAAAAAABUYgNAQAAAAAAIlEgwR+XE9KdyxbpOP+QiySpys+iA1apdz+oJTncxX2NKSYA"
    "AAAAAAEBK2DqAAAAAAAAIlEgcxAIfw+cb4UhCG+g/aQ2hMo+JC42rMDNl1Huj0fJPv0hFosxEiA6l0FDYowbl5DugPn2YXOZRYcS"
    "K5Gx/9klamc1EQBLpDYDVgAAgAEAAIAAAACAIRbiB3TCeI7bPA/+op7Ev8JsLwl2tDyn6FOrmSKX99B6bhEAjfybNFYAAIABAACA"
    "AAAAgCEW5owhM/7Qgiej7lgEwMW5OfyqInT5u5OidCJeAjbLjmANAM3ytGgAAAAAAAAAAAEXIOaMITP+0IIno+5YBMDFuTn8qiJ0"
    "+buTonQiXgI2y45gIhoCrpDi5pmweWFN8Ew0Ep7oCUYYCDiec1HZ9ri3w/a/p/dCAuIHdMJ4jts8D/6insS/wmwvCXa0PKfoU6uZ"
    "Ipf30HpuA4sxEiA6l0FDYowbl5DugPn2YXOZRYcSK5Gx/9klamc1AAEBK2DqAAAAAAAAIlEgHY2qdVSD3b+URvCH25a9ljqHnNxv"
    "FPACgzX0iQApmQ8hFgbxpGxFXXAf7YxZ8/glGNOFUj0UDBe1mJun/0Nu3Hf+DQDN8rRoAQAAAAUAAAAhFosxEiA6l0FDYowbl5Du"
    "gPn2YXOZRYcSK5Gx/9klamc1EQBLpDYDVgAAgAEAAIAAAACAIRbiB3TCeI7bPA/+op7Ev8JsLwl2tDyn6FOrmSKX99B6bhEAjfyb"
    "NFYAAIABAACAAAAAgAEXIAbxpGxFXXAf7YxZ8/glGNOFUj0UDBe1mJun/0Nu3Hf+IhoCrpDi5pmweWFN8Ew0Ep7oCUYYCDiec1HZ"
    "9ri3w/a/p/dCAuIHdMJ4jts8D/6insS/wmwvCXa0PKfoU6uZIpf30HpuA4sxEiA6l0FDYowbl5DugPn2YXOZRYcSK5Gx/9klamc1"
    "AAAA"
)
"""Two coins of the group's addresses 0/0 and 1/5, and two outputs."""


class Esplora(BaseHTTPRequestHandler):
    """A chain in whose block 100 the transaction is as soon as it is submitted, or that keeps it in its mempool."""

    def do_GET(self) -> None:
        submitted = bool(self.server.submitted)  # type: ignore[attr-defined]
        depth: int = self.server.depth  # type: ignore[attr-defined]
        block = {"confirmed": submitted and depth > 0, "block_height": 100}
        match self.path.strip("/").split("/"):
            case ["tx", _, "status"]:
                self.answer(block) if submitted else self.send_error(404)
            case ["tx", _, "outspend", _]:
                self.answer({"spent": submitted, "txid": TXID, "status": block})
            case ["tx", _]:
                self.answer({"vout": [{}, {}], "status": {"confirmed": True, "block_height": 1}})
            case ["blocks", "tip", "height"]:
                self.answer(99 + max(depth, 1))
            case ["blocks", "tip", "hash"]:
                self.answer("ab" * 32, text=True)
            case ["block", _]:
                self.answer({"height": 99 + max(depth, 1), "mediantime": 1_700_000_000})
            case ["fee-estimates"]:
                self.answer({"144": 2.5})
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        self.server.submitted.append(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
        self.answer(TXID, text=True)

    def answer(self, value: object, text: bool = False) -> None:
        body = (str(value) if text else json.dumps(value)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def esplora(depth: int = 1) -> Iterator[tuple[str, list[bytes]]]:
    """Its address, and what was submitted to it, in hexadecimal digits. With `depth` 0 the transaction is in no block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Esplora)
    submitted: list[bytes] = []
    server.submitted = submitted  # type: ignore[attr-defined]
    server.depth = depth  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", submitted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
