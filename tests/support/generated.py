"""Generated tables, labels, weights and settings, and what a detector must do with each of them."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

import jaxad
from jaxad import training

PACKAGE = Path(jaxad.__file__).parent
TRAINING = {PACKAGE / "training" / name for name in ("runs.py", "runners.py", "scoring.py")}
FARTHEST = 1e15  # scaled values that float32 could not square are refused


def examples(number: int) -> hypothesis.settings:
    """Settings of a property test: the same ``number`` of cases in every run."""
    return hypothesis.settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


class Chance:
    """Choices among many, evenly: hypothesis itself prefers the first ones."""

    def __init__(self, seed: bytes, salt: int):
        self.rng = np.random.default_rng([*seed, salt])

    def one_of(self, choices: Any) -> Any:
        """One of the choices."""
        return list(choices)[self.rng.integers(len(choices))]

    def seldom(self) -> bool:
        """True in one of eight cases."""
        return self.rng.random() < 1 / 8


def chances(salt: int) -> st.SearchStrategy[Chance]:
    """Hypothesis likes to repeat a seed: each use has a ``salt`` of its own."""
    return st.binary(min_size=8, max_size=8).map(lambda seed: Chance(seed, salt))


# Tables


class Table(NamedTuple):
    """A table as its user has it.

    Attributes:
      X: the table.
      values: ``[N, D]`` float64, what it holds.
      problem: what an error must say of it, a regular expression; None: it is a table of numbers.
    """

    X: Any
    values: np.ndarray
    problem: str | None


def _anomaly(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(np.arange(n) == rng.integers(n), 10.0 ** rng.integers(-30, 31), 0) + 7.3


# A column of n values.
COLUMNS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "whole": lambda rng, n: rng.integers(-100, 100, n).astype(float),
    "constant": lambda rng, n: np.full(n, rng.normal() * 10.0 ** rng.integers(-30, 31)),
    "zeros": lambda rng, n: np.zeros(n),
    "huge": lambda rng, n: rng.normal(size=n) * 1e30,
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-30,
    "denormal": lambda rng, n: rng.integers(-9, 10, n) * 5e-324,
    "denormal in float32": lambda rng, n: rng.integers(-9, 10, n) * 1.4e-45,
    "mixed": lambda rng, n: rng.normal(size=n) * 10.0 ** rng.integers(-30, 31, n),
    "one anomaly among constants": _anomaly,
    "far from zero": lambda rng, n: 1e9 + rng.normal(size=n) * 1e-3,
    "two values": lambda rng, n: rng.choice([-1e30, 1e30], n),
    "rounding errors": lambda rng, n: (
        10.0 ** rng.integers(-30, 31) * (1 + rng.integers(3, size=n) * 2.0**-52)
    ),
    "beyond float32": lambda rng, n: rng.normal(size=n) * 1e200,
}
CELLS = st.one_of(
    st.floats(-1e30, 1e30),
    st.integers(-9, 9).map(float),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-45, 1e-38, 1e30, -1e30, 65504.0, 3e38, 2.0**53]),
)
TYPES = [
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.longdouble, ">f8", ">f4"),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, bool),
]


@st.composite
def values(draw: Any, chance: Chance, n: int, d: int) -> np.ndarray:
    """Finite float64 values ``[n, d]``: cell by cell, or column by column."""
    if n * d <= 40 and draw(st.booleans()):
        return np.array(draw(st.lists(CELLS, min_size=n * d, max_size=n * d))).reshape(n, d)
    kinds = [chance.one_of(COLUMNS) for _ in range(min(d, 6))]
    x = np.column_stack([COLUMNS[kinds[i % len(kinds)]](chance.rng, n) for i in range(d)])
    if d > 1 and chance.seldom():
        x[:, -1] = x[:, 0]  # a duplicated column
    return x


def _cast(x: np.ndarray, kind: Any) -> np.ndarray:
    kind = np.dtype(kind)
    if kind.kind in "iu":
        bounds = np.iinfo(kind)
        low, high = float(bounds.min), np.nextafter(float(bounds.max), 0)
        return np.clip(x, low, high).astype(kind)
    with np.errstate(all="ignore"):
        return x.astype(kind)


def _view(x: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another order of memory."""
    if layout == "Fortran":
        return np.asfortranarray(x)
    if layout == "strided":
        return np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3]
    if layout == "negative strides":
        return x[::-1, ::-1].copy()[::-1, ::-1]
    x = x.copy()
    x.flags.writeable = layout != "read-only"
    return x


def _named(x: np.ndarray, names: list | None = None) -> pd.DataFrame:
    return pd.DataFrame(x, columns=names or [f"f{i}" for i in range(x.shape[1])])


def _nullable(x: np.ndarray) -> pd.DataFrame:
    return _named(x).astype(
        {"b": "boolean", "f": "Float64", "i": "Int64", "u": "UInt64"}[x.dtype.kind]
    )


def _arrow(x: np.ndarray) -> pd.DataFrame:
    kind = {"b": "bool", "f": "double", "i": "int64", "u": "uint64"}[x.dtype.kind]
    return _named(x).astype(f"{kind}[pyarrow]")


def _indexed(x: np.ndarray) -> pd.DataFrame:
    return _named(x).set_index(pd.Index([f"row {i}" for i in range(len(x))]))


# What holds an array, and what an error must say of it.
HOLDERS: dict[str, tuple[Callable[[np.ndarray], Any], str | None]] = {
    **{
        layout: (lambda x, layout=layout: _view(x, layout), None)
        for layout in ("C", "Fortran", "strided", "negative strides", "read-only")
    },
    "lists": (lambda x: x.tolist(), None),
    "list of rows": (list, None),
    "objects": (lambda x: x.astype(object), None),
    "frame": (_named, None),
    "frame with whole numbers as names": (lambda x: pd.DataFrame(x), None),
    "frame with an index": (_indexed, None),
    "frame of objects": (lambda x: _named(x.astype(object)), None),
    "nullable frame": (_nullable, None),
    "frame of pyarrow": (_arrow, None),
    "polars": (lambda x: pl.DataFrame(dict(_named(x).items())), None),
    "pyarrow table": (lambda x: pa.table(dict(_named(x).items())), None),
    "names that occur twice": (
        lambda x: _named(x, ["twice"] * x.shape[1]),
        "X has several columns named 'twice'",
    ),
    "names of two kinds": (
        lambda x: _named(x, [1, *(f"f{i}" for i in range(1, x.shape[1]))]),
        "X has columns named by text and by other values, such as 'f1' and 1",
    ),
    # pandas and jaxad take categories of booleans for booleans.
    "categories": (
        lambda x: _named(x.astype(float)).astype("category"),
        "X: columns? 'f0'.* not numeric",
    ),
    "text": (lambda x: x.astype(str), r"X has '.*' at row 0, column 0: encode"),
    "times": (lambda x: _named(x).astype("datetime64[ns]"), "X: columns? 'f0'.* not numeric"),
    "sparse": (lambda x: _named(x).astype(pd.SparseDtype(float)), "X: column 'f0' is sparse"),
    "one dimension": (lambda x: x.ravel(), "^X: Expected 2D array, got 1D"),
    "three dimensions": (lambda x: x[:, None], r"X has shape \(\d+, 1, \d+\)"),
}
ONLY_USUAL = {
    "categories",
    "nullable frame",
    "frame of pyarrow",
    "polars",
    "pyarrow table",
    "times",
    "sparse",
}


def _usual(x: np.ndarray) -> np.ndarray:
    """In a type that all libraries of frames know."""
    known = x.dtype.kind in "biu" or x.dtype in (np.float32, np.float64)
    return x if known and x.dtype.isnative else x.astype(np.float64)


@st.composite
def tables(
    draw: Any, widths: tuple[int, ...], rows: tuple[int, int] = (1, 40), fewest: int = 2
) -> Table:
    """A table of some width; at least ``fewest`` rows are no problem."""
    chance = draw(chances(1))
    few = fewest > rows[0] and chance.seldom()
    n = draw(st.integers(rows[0] if few else max(fewest, rows[0]), fewest if few else rows[1]))
    d = chance.one_of(widths)
    x = _cast(draw(values(chance, n, d)), chance.one_of(TYPES))
    refused = chance.seldom()
    some = [name for name, (_, problem) in HOLDERS.items() if refused == (problem is not None)]
    holder = chance.one_of([name for name in some if d > 1 or not name.startswith("names")])
    x = _usual(x) if holder in ONLY_USUAL else x
    if x.dtype.kind in "fV" and chance.seldom():
        x[chance.rng.integers(n), chance.rng.integers(d)] = chance.one_of([np.nan, np.inf, -np.inf])
    make, problem = HOLDERS[holder]
    with np.errstate(all="ignore"):
        held = x.astype(np.float64)
        if holder == "times":
            x = np.zeros_like(x)
    finite = np.isfinite(held)
    if problem is None and n < fewest:
        problem = rf"{n} sample\(s\).*Pass more rows of X"
    if problem is None and not finite.all():
        row, column = np.argwhere(~finite)[0]
        kind = "NaN" if np.isnan(held[row, column]) else "infinity"
        problem = f"X contains {kind}: first at row {row}, column {column}"
    return Table(make(x), held, problem)


def spread_problem(scaler: str, x: np.ndarray, weight: np.ndarray | None) -> str | None:
    """What an error must say of finite values that a scaler cannot scale to float32, or None.

    It calculates with 80 bits. Values close to a limit may be judged either way: ``"unsure"``.
    """
    x = x.astype(np.longdouble)
    if scaler == "none":
        scale: Any = np.ones(x.shape[1])
    elif scaler == "minmax":
        scale = np.ptp(x, axis=0)
        if (scale > np.finfo(float).max).any():
            return f"scaler={scaler!r}: the spread .* overflows"
        return None
    elif scaler == "robust":
        low, high = np.quantile(x.astype(float), (0.25, 0.75), axis=0)
        scale, x = high - low, x - np.median(x, axis=0)
    else:
        share = np.ones(len(x)) if weight is None else weight / weight.max()
        deviation = x - np.average(x, axis=0, weights=share)
        variance = np.average(np.square(deviation), axis=0, weights=share)
        if (variance > np.finfo(float).max).any():
            return f"scaler={scaler!r}: the spread .* overflows"
        # Only a row of hardly any weight can be far from the others.
        scale = np.sqrt(np.where(variance == 0, 1, variance))
        return "unsure" if (np.abs(deviation) / scale > FARTHEST / 100).any() else None
    largest = float((np.abs(x) / np.where(scale == 0, 1, scale)).max())
    if 0.99 < largest / FARTHEST < 1.01:
        return "unsure"
    return r"X\[\d+, \d+\]=.* is too far" if largest > FARTHEST else None


# Labels and weights


class Given(NamedTuple):
    """Labels or weights as their user has them.

    Attributes:
      given: what ``fit`` gets.
      values: ``[N]`` what it holds, or None.
      problem: what an error must say of it, or None.
    """

    given: Any
    values: np.ndarray | None
    problem: str | None


@st.composite
def labels(draw: Any, n: int) -> Given:
    """Labels of n rows for Deep SAD; the problem does not say whether there are enough of each."""
    chance = draw(chances(2))
    y = chance.rng.choice(chance.one_of([[-1, 0, 1]] * 5 + [[0, 1], [-1]]), n)
    if chance.seldom():
        made = [
            (np.append(y, 0), rf"y has shape \({n + 1},\), but X has {n} rows"),
            (y > 0, "y is boolean"),
            (np.append(y[1:], 2), rf"y\[{n - 1}\]=2 is not one of"),
            (y.astype(str), r"y\[0\]='-?\d' is not one of"),
        ]
        wrong, problem = chance.one_of(made)
        return Given(wrong, None, problem)
    how = chance.one_of(["none", "none", "whole", "float", "series", "nullable", "list"])
    if how == "none":
        return Given(None, None, None)
    made = {
        "float": y.astype(float),
        "series": pd.Series(y, index=range(5, 5 + n)),
        "nullable": pd.Series(y, dtype="Int64"),
        "list": y.tolist(),
    }
    return Given(made.get(how, y), y, None)


@st.composite
def weights(draw: Any, n: int) -> Given:
    """Weights of n rows."""
    chance = draw(chances(3))
    if chance.seldom():
        bad = chance.one_of([-1.0, np.nan, np.inf])
        made = [
            (np.ones(n + 1), rf"sample_weight has shape \({n + 1},\), but X has {n} rows"),
            (["a"] * n, "sample_weight is not an array of numbers"),
            (np.append(np.ones(n - 1), bad), rf"sample_weight\[{n - 1}\]={bad} is not"),
        ]
        wrong, problem = chance.one_of(made)
        return Given(wrong, None, problem)
    how = chance.one_of(["none", "none", "none", "equal", "floats", "zeros"])
    if how == "none":
        return Given(None, None, None)
    if how == "equal":
        w = np.full(n, chance.one_of([1.0, 1e-30, 1e30, 5e-324, 1e308]))
        return Given(w, w, None)
    weight = st.floats(0, 1e30) if how == "floats" else st.sampled_from([0.0, 0.0, 1.0, 1e-30])
    w = np.array(draw(st.lists(weight, min_size=n, max_size=n)))
    positive = int((w > 0).sum())
    if not positive:
        return Given(w, w, "sample_weight is zero for every row")
    return Given(w, w, "sample_weight has 1 positive" if positive < 2 else None)


# What errors must be


@dataclass
class Tried:
    """What a call returned or raised, and how many programs it compiled."""

    result: Any
    error: Exception | None
    compilations: int


def attempt(call: Callable[[], Any]) -> Tried:
    """Call a function that may raise an error."""
    result = error = None
    with training.Stopwatch() as watch:
        try:
            result = call()
        except Exception as raised:
            error = raised
    return Tried(result, error, watch.compilations)


def check_refused(tried: Tried, problem: str) -> None:
    """An error of jaxad that says what is wrong, raised before anything is compiled or trained."""
    error = tried.error
    assert error is not None, f"nothing was raised, but it should say {problem!r}"
    check_early(tried)
    found = re.search(problem, str(error), re.DOTALL)
    assert found, f"{type(error).__name__}: {error}\nlacks {problem!r}"


def check_early(tried: Tried) -> None:
    """It is raised by jaxad's own checks, before anything is compiled or trained."""
    error = tried.error
    assert type(error) in (ValueError, TypeError), repr(error)
    frames, here = [], error.__traceback__
    while here is not None:
        frames.append(Path(here.tb_frame.f_code.co_filename))
        here = here.tb_next
    assert PACKAGE in frames[-1].parents, f"raised in {frames[-1]}: {error!r}"
    assert not TRAINING & set(frames), f"raised in training: {error!r}"
    assert tried.compilations == 0, f"compiled before it was raised: {error!r}"


def names(error: Exception, settings: dict[str, Any]) -> bool:
    """Whether an error names one of the settings with its value, or with a part of its value."""
    for name, value in settings.items():
        parts = value if isinstance(value, tuple | list) else ()
        for one in (value, *parts):
            shown = {repr(one), str(one), f"{one!r:.60}"}
            if any(f"{name}={text}" in str(error) for text in shown):
                return True
    return False


# Settings

VALUES: list[Any] = [
    *(None, True, False, np.True_, "auto", "all", "x", "", b"x", 1j, object(), {}, {"a": 1}),
    *(-1, 0, 1, 2, 10, 2**33, np.int64(2), np.uint8(1), np.array(2), np.array([1, 2])),
    *(-0.5, 0.0, 1e-30, 0.5, 0.999, 1.0, 2.5, 1e30, np.float32(0.5), np.float64(1.0)),
    *(math.nan, math.inf, -math.inf, Decimal("0.5"), Fraction(1, 2)),
    *((), (1,), (0,), (2, 3), [4], (-1,), (2.5,), ("a",), (True,), {3}, range(1, 3), (None,)),
    *("bfloat16", "mean", "standard", "robust", "sum", "soft-boundary", "unlabelled", "mlp", "cpu"),
]


def number(low: float, high: float = math.inf, closed: str = "left") -> Callable[[Any], bool]:
    """Whether a value is a real number in an interval, by the closed ends of the interval."""

    def valid(value: Any) -> bool:
        value = value.item() if getattr(value, "ndim", None) == 0 else value
        if not isinstance(value, int | float | Fraction) or isinstance(value, bool):
            return False
        above = value >= low if closed in ("left", "both") else value > low
        return above and (value <= high if closed in ("right", "both") else value < high)

    return valid


def whole(value: Any) -> bool:
    """Whether a value is an integer of at least 1."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1


def every(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is a sequence of values that are all valid."""
    kinds = tuple | list | range | np.ndarray
    return lambda value: isinstance(value, kinds) and np.ndim(value) == 1 and all(map(valid, value))


def flag(value: Any) -> bool:
    """Whether a value is a boolean."""
    return isinstance(value, bool | np.bool_)


def among(*others: Any, otherwise: Callable[[Any], bool] = lambda _: False) -> Any:
    """Whether a value is one of these texts or None, or else valid."""
    return lambda value: (
        any(
            value is other or type(value) is type(other) is str and value == other
            for other in others
        )
        or otherwise(value)
    )


positive, at_least_zero, share = number(0, closed="neither"), number(0), number(0, 1)


def epochs(value: Any) -> bool:
    """Whether a value is a whole number of at least 0, as an integer or a float."""
    return at_least_zero(value) and float(value) % 1 == 0


def seed(value: Any) -> bool:
    """Whether a value is an integer that seeds 32 bits."""
    return value is not None and (whole(value) or type(value) is int) and 0 <= value < 2**32


# What each argument of a detector may be, for 40 rows of 3 features.
VALID: dict[str, Callable[[Any], bool]] = {
    "anomalies_in_centre": flag,
    "batch_norm": flag,
    "batch_size": whole,
    "clip_norm": among(None, otherwise=positive),
    "combine": among("auto", "mean", "z", "rank"),
    "contamination": number(0, 0.5, "both"),
    "decoder": among(None),
    "device": among(None, "cpu"),
    "diagnostics": among("all", otherwise=lambda value: type(value) is tuple and not value),
    "draws": whole,
    "dropout": share,
    "dtype": among("float32", "bfloat16"),
    "epochs": among("auto", otherwise=epochs),
    "epsilon": positive,
    "estimation_hidden": every(whole),
    "eta": positive,
    "hidden": among(None, otherwise=every(whole)),
    "jitter": positive,
    "kurtosis_slope": at_least_zero,
    "lambda_covariance": at_least_zero,
    "lambda_energy": at_least_zero,
    "latent_dim": among(None, otherwise=whole),
    "learning_rate": positive,
    "loss": among(None),
    "loss_numbers": among(None, otherwise=lambda value: type(value) is dict and not value),
    "make_objective": lambda value: False,
    "map_offset": at_least_zero,
    "map_scale": positive,
    "margin": at_least_zero,
    "milestones": every(at_least_zero),
    "n_components": lambda value: whole(value) and value <= 40,
    "n_members": among("auto", otherwise=whole),
    "n_transforms": lambda value: whole(value) and value >= 2,
    "network": among("mlp"),
    "network_dropout": share,
    "noise": lambda value: (
        at_least_zero(value)
        or (np.ndim(value) == 1 and len(value) == 1 and every(at_least_zero)(value))
    ),
    "noise_scale": number(0.1, 3, "both"),
    "nu": number(0, 1, "right"),
    "numbers": among(None, otherwise=lambda value: type(value) is dict and not value),
    "objective": among("one-class", "soft-boundary"),
    "patience": among(None, otherwise=positive),
    "pretrain_epochs": epochs,
    "pretrain_learning_rate": among(None, otherwise=positive),
    "pretrain_on": among("unlabelled", "all"),
    "pretrain_weight_decay": at_least_zero,
    "random_state": among(None, otherwise=seed),
    "recipe": among(None),
    "reconstruction_weight": at_least_zero,
    "reduction": among("sum", "mean"),
    "resnet_depth": lambda value: whole(value) and value == 10,
    "resnet_width": whole,
    "scaler": among("auto", "standard", "minmax", "robust", "none"),
    "shift": among(None, otherwise=whole),
    "threads": among(None, otherwise=whole),
    "time_decay": at_least_zero,
    "transform_dim": whole,
    "trim": share,
    "triplet_weight": at_least_zero,
    # Rounded, it must leave a row on both sides.
    "validation_fraction": lambda value: (
        share(value) and (value == 0 or 0 < round(40 * float(value)) < 40)
    ),
    "verbose": lambda value: flag(value) or (type(value) is int and value in (0, 1)),
    "warm_start": flag,
    "warm_up_epochs": among("auto", otherwise=at_least_zero),
    "weight_decay": at_least_zero,
}
TOO_LARGE = {
    "n_members": 2**33,
    "hidden": 2**33,
    "draws": 2**33,
    "latent_dim": 2**33,
    "n_transforms": 2**33,
}
