"""The same methods in other frameworks, to measure speed against.

`pytorch` holds loops written by hand; `published` drives PyOD and DeepOD through their public API
in an environment of their own, which `environment` makes and `remote` talks to.
"""


class PeerError(RuntimeError):
    """A peer is missing or failed; the message is the reason a result gives."""
