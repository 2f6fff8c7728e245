"""Bytes of any size, checked against their descriptor on their way through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from bundler.errors import VerificationFailed
from bundler.model.artifact import Descriptor

PIECE_BYTES = 1024 * 1024


def checked(pieces: Iterable[bytes], descriptor: Descriptor, place: object) -> Iterator[bytes]:
    """The same pieces; the last comes only after size and digest were found right.

    Raises VerificationFailed, and reads no further than the first byte too many.
    """
    actual = hashlib.sha256()
    count = 0
    held = b""
    for piece in pieces:
        count += len(piece)
        if count > descriptor.size:
            raise VerificationFailed(f"{place} has more than the expected {descriptor.size} bytes")
        actual.update(piece)
        if held and piece:
            yield held
        held = piece or held
    if count != descriptor.size:
        raise VerificationFailed(
            f"{place} has {count} bytes where {descriptor.size} are expected",
        )
    if actual.hexdigest() != descriptor.digest.hex:
        raise VerificationFailed(
            f"{place} is damaged: its content has the digest sha256:{actual.hexdigest()}"
        )
    if held:
        yield held
