"""Changed inputs without a fuzzing engine: for the short form, or where there is no atheris."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

_BYTES = (
    b"\x00",
    b"\xff",
    b"\n",
    b"\r\n",
    b"\x1b]0;x\x07",
    b"\x80",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
)
_LENGTHS = (1, 2, 16, 255, 256, 4096)


def mutations(
    draw: Random, seeds: Sequence[bytes], tokens: Sequence[bytes], most: int
) -> Iterator[bytes]:
    """Return changed seeds without end, each at most `most` bytes; equal for equal draws."""
    words = [*_BYTES, *tokens]
    while True:
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((1, 1, 2, 4, 8))):
            _change(draw, data, seeds, words)
        yield bytes(data[:most])


def _change(draw: Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    place = draw.randrange(len(data) + 1)
    end = min(len(data), place + draw.choice(_LENGTHS))
    match draw.randrange(7):
        case 0:
            data[place:place] = draw.choice(words)
        case 1:
            data[place:end] = draw.choice(words)
        case 2:
            del data[place:end]
        case 3:  # many of one kind: what is not linear shows here
            data[place:place] = bytes(data[place:end]) * draw.choice((2, 16, 256))
        case 4:
            data[place:place] = draw.choice(words) * draw.choice((16, 1024, 8192))
        case 5 if data:
            data[min(place, len(data) - 1)] ^= 1 << draw.randrange(8)
        case _:
            other = draw.choice(seeds)
            data[place:] = other[draw.randrange(len(other) + 1) :]
