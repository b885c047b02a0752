"""An extension of the API reference: show the section ``Example:`` of docstrings as code."""

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Read the heading ``Example:`` as ``Examples:``, whose ``>>>`` lines are code."""

    def on_object(self, *, obj: griffe.Object, **options: Any) -> None:
        """Rename the heading in the docstring of ``obj``."""
        if obj.docstring is not None:
            obj.docstring.value = _HEADING.sub(r"\1Examples:", obj.docstring.value)
