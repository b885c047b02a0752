"""What bounds the targets that are known to be hard: said beside one that is missed."""

# All pieces are in the target's words -> what stands in the way.
_BOUNDS: dict[tuple[str, ...], str] = {}


def bound_of(what: str) -> str | None:
    """What is known to bound a target, by its words; None where nothing is."""
    for pieces, text in _BOUNDS.items():
        if all(piece in what for piece in pieces):
            return text
    return None
