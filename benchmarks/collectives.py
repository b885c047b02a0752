"""What devices tell each other in a compiled program, counted from its text."""

import math
import re
from collections import Counter
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
# `%name = f32[8,4]{1,0} all-reduce(...)`; the type may be a tuple, and the operation in two halves.
_CALL = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


class Collectives(NamedTuple):
    """The collective operations of a program.

    A training program is a loop around a step: what stands in it once is done in every step, but
    for the few that belong to an epoch.

    Attributes:
      counts: kind -> how many.
      bytes: of their results on one device.
    """

    counts: dict[str, int]
    bytes: int


def found_in(text: str) -> Collectives:
    """The collectives of a compiled program's text.

    Example:
      >>> found_in("%sum = f32[8,4]{1,0} all-reduce(%x), channel_id=1").bytes
      128
    """
    calls = _CALL.findall(text)
    return Collectives(
        dict(Counter(kind for _, kind in calls)), sum(_bytes(result) for result, _ in calls)
    )


def _bytes(result: str) -> int:
    sizes = [
        math.prod(map(int, filter(None, shape.split(",")))) * _width(kind, bits)
        for kind, bits, shape in _ARRAY.findall(result)
    ]
    return sum(sizes)


def _width(kind: str, bits: str) -> int:
    return 1 if kind == "pred" else -(-int(bits) // 8)
