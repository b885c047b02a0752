"""No public name is missing in the reference."""

import importlib
import inspect
import pathlib
import re
import sys
import types

import pytest

import jaxad

REFERENCE = pathlib.Path(__file__).parents[2] / "docs" / "reference"
PACKAGES = [name for name in jaxad.__all__ if hasattr(getattr(jaxad, name), "__path__")]
DIRECTIVES = re.findall(
    r"^::: (jaxad\.\S+)$",
    "\n".join(page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))),
    re.MULTILINE,
)


def found(path):
    """What a dotted path names, and None where it names nothing."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            thing = getattr(thing, name, None)
        return thing
    return None


# A function with the name of its module, as `jaxad.plotting.diagnostics`, is named inside of it:
# the generator of the pages takes the shorter path for the module.
THINGS = [getattr(found(p.rpartition(".")[0]), p.rpartition(".")[2], None) for p in DIRECTIVES]
MODULES = {thing.__name__ for thing in THINGS if isinstance(thing, types.ModuleType)}


def exported(package):
    """The names that a package exports from its own modules, without the modules themselves."""
    tree = (pathlib.Path(package.__file__)).read_text(encoding="utf-8")
    return re.findall(r"^(?:from \S+ )?import \w+ as (\w+)$", tree, re.MULTILINE)


def is_covered(thing):
    if isinstance(thing, types.ModuleType):
        inside = f"{thing.__name__}."
        return thing.__name__ in MODULES or any(path.startswith(inside) for path in DIRECTIVES)
    return any(thing is one for one in THINGS) or getattr(thing, "__module__", None) in MODULES


def test_every_directive_names_something():
    assert [p for p, thing in zip(DIRECTIVES, THINGS, strict=True) if thing is None] == []
    modules = {name for name in sys.modules if name.startswith("jaxad.")}
    functions = [p for p, t in zip(DIRECTIVES, THINGS, strict=True) if inspect.isfunction(t)]
    assert modules.intersection(functions) == set()
    assert len(DIRECTIVES) == len(set(DIRECTIVES))


def test_every_name_of_jaxad_is_in_the_reference():
    public = jaxad.__all__
    assert {"DeepSVDD", "load", "training"} <= set(public)
    assert [name for name in public if not is_covered(getattr(jaxad, name))] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_of_a_part_is_in_the_reference(name):
    package = importlib.import_module(f"jaxad.{name}")
    names = exported(package)
    assert names
    assert [one for one in names if not is_covered(getattr(package, one))] == []
