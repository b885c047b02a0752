"""The design as tests: who may import whom, and that every file says what it is."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each part of the package may import from the others. A new part takes a row here first.
PARTS = {
    "typing": set(),
    "checks": set(),
    "registry": set(),
    "persistence": set(),
    "hashing": {"typing"},
    "layout": {"typing"},
    "precision": set(),
    "reading": set(),
    "losses": {"typing"},
    "metrics": {"typing"},
    "rows": {"typing", "checks"},
    "thresholds": {"typing", "metrics"},
    "networks": {"typing", "layout", "rows", "hashing"},
    "objectives": {
        *("typing", "checks", "layout", "rows", "registry", "hashing"),
        *("losses", "networks"),
    },
    "training": {"typing", "layout", "precision", "rows", "checks", "hashing", "persistence"},
    "callbacks": {"training"},
    "data": {"typing", "rows", "reading"},
    "deployment": {"typing", "checks", "persistence"},
    "plotting": {"typing", "metrics", "thresholds"},
    "estimators": {
        *("typing", "precision", "rows", "checks", "registry", "persistence", "thresholds"),
        *("losses", "networks", "objectives", "training", "deployment"),
    },
    "fleet": {
        *("typing", "rows", "checks", "registry", "persistence", "reading"),
        *("thresholds", "networks", "training", "estimators"),
    },
    "pyod": {"checks", "estimators"},
    "loading": {"persistence", "deployment", "estimators", "fleet"},
    "search": {"typing", "rows", "data", "metrics", "training", "estimators"},
    "tuning": {
        *("typing", "rows", "checks", "metrics", "data", "training", "estimators", "search"),
    },
    "study": {
        *("typing", "rows", "checks", "registry", "persistence", "data"),
        *("objectives", "training", "estimators"),
    },
}
PARTS["jaxad"] = set(PARTS)

# Third-party libraries that live in some parts only. The longest matching name decides.
HOMES = {
    "flax": set(),
    "flax.struct": {"objectives", "training"},
    "flax.linen": {"networks", "objectives"},
    "optax": {"training"},
    "sklearn": {"estimators", "data", "search", "fleet", "study", "tuning", "pyod"},
    "pyod": {"pyod"},
    "narwhals": {"estimators", "fleet"},
    "matplotlib": {"plotting"},
    "baycomp": {"study"},
    "jax2onnx": {"deployment"},
    "optuna": {"tuning"},
}
LOSSES_MAY_IMPORT = {"jax", "chex", "numpy"}

PACKAGE = sorted((ROOT / "jaxad").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))


def imports(source, module):
    """The dotted names ``source`` imports; ``module`` is its own parts, to resolve dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module[: len(module) - node.level + 1] if node.level else ()
            base = ".".join([*base, *([node.module] if node.module else [])])
            # `from a import b` may import the module a.b: both names count.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def home(name):
    """The longest entry of ``HOMES`` that ``name`` falls under, or None."""
    matches = [entry for entry in HOMES if f"{name}.".startswith(f"{entry}.")]
    return max(matches, key=len, default=None)


def violations(source, module):
    """What a module of the package, ``("jaxad", part, ...)``, imports but may not."""
    part = module[1] if len(module) > 1 else "jaxad"
    if part not in PARTS:
        return [f"{part!r} is no part of the design: add it to PARTS"]
    package = module if (ROOT.joinpath(*module)).is_dir() else module[:-1]
    wrong = []
    for name in imports(source, package):
        top, *rest = name.split(".")
        if top == "jaxad":
            other = rest[0] if rest and rest[0] in PARTS else "jaxad"
            if other != part and other not in PARTS[part] or (other == "jaxad" and part != other):
                wrong.append(f"{part} imports {name}")
        elif top in ("benchmarks", "tests") or (home(name) and part not in HOMES[home(name)]):
            wrong.append(f"{part} imports {name}")
        elif part == "losses" and top not in LOSSES_MAY_IMPORT | sys.stdlib_module_names:
            wrong.append(f"{part} imports {name}")
    return wrong


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def identify(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PACKAGE, ids=identify)
def test_imports_follow_the_design(path):
    assert violations(path.read_text(encoding="utf-8"), module_of(path)) == []


@pytest.mark.parametrize("path", PACKAGE + BENCHMARKS, ids=identify)
def test_files_say_what_they_are(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "no module docstring"


def test_no_modules_import_each_other_in_a_circle():
    """Inside the folders, too. A package's ``__init__`` only hands names on."""
    names = {".".join(module_of(path)): path for path in PACKAGE if path.stem != "__init__"}
    left = {
        name: {
            other
            for imported in imports(path.read_text(encoding="utf-8"), module_of(path)[:-1])
            for other in (imported, imported.rpartition(".")[0])
            if other in names and other != name
        }
        for name, path in names.items()
    }
    while ready := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in ready}
    assert not left


def test_the_design_has_no_cycles():
    done = set()
    while ready := {part for part in set(PARTS) - done if PARTS[part] <= done | {part}}:
        done |= ready
    assert done == set(PARTS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("losses.x", "from jaxad import training"),
        ("losses.x", "import flax.linen as nn"),
        ("losses.x", "import scipy.special"),
        ("losses.x", "from ..networks import MLP"),
        ("objectives.x", "from jaxad.training import fit"),
        ("objectives.x", "from jaxad.estimators.prepare import check_rows"),
        ("objectives.x", "import optax"),
        ("training.x", "def f():\n    import jaxad.objectives.base"),
        ("training.x", "from .. import objectives"),
        ("training.x", "from flax import linen as nn"),
        ("networks.x", "from flax.training import train_state"),
        ("metrics", "from sklearn.metrics import roc_auc_score"),
        ("estimators.x", "from jaxad.search import sweep"),
        ("estimators.x", "import jaxad"),
        ("estimators.x", "from benchmarks import run"),
        ("surprise", "import jax"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    assert violations(source, ("jaxad", *module.split(".")))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("losses.x", "import chex\nimport jax.numpy as jnp\nfrom functools import partial"),
        ("losses.x", "from jaxad.typing import Array\nfrom .y import z"),
        ("networks.x", "import flax.linen as nn\nfrom jaxad.networks.y import z"),
        ("training.x", "import optax\nfrom flax import struct\nfrom jaxad import typing"),
        ("objectives.x", "from flax import struct\nfrom jaxad import losses, networks"),
        ("estimators.x", "import sklearn.base\nfrom jaxad import objectives, persistence"),
    ],
)
def test_an_allowed_import_is_left_alone(module, source):
    assert violations(source, ("jaxad", *module.split("."))) == []
