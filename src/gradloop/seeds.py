"""Streams of random numbers that do not meet."""

import hashlib


def stream_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on every part: `stream_seed(seed, "order", epoch)`.

    A hash keeps the streams apart: seeds 0 and 1 share no order, and epoch 1 of seed 0 is not epoch 0 of seed 1.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
