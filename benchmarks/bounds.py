"""What bounds the targets that are known to be hard: said beside one that is missed."""

# All pieces are in the target's words -> what stands in the way.
_BOUNDS: dict[tuple[str, ...], str] = {
    ("DeepOD GOAD",): (
        "DeepOD's GOAD encodes the rows it was fitted on again in every call that scores, so the "
        "ratio grows with their number; here they are few, for its fit takes seconds as it is."
    ),
    ("first fit, cold",): (
        "A cold first fit is compilation: see its seconds beside it, and what is left with kept "
        "programs."
    ),
    ("Deep SVDD 30-128-64-32", "members"): (
        "Products this small reach less than the peak even alone; activations, Adam and every "
        "member's own shuffle are passes of their own."
    ),
}


def bound_of(what: str) -> str | None:
    """What is known to bound a target, by its words; None where nothing is."""
    for pieces, text in _BOUNDS.items():
        if all(piece in what for piece in pieces):
            return text
    return None
