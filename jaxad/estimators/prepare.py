"""Input of estimators: from ``X`` to checked, scaled rows and to the plan of a fit."""

import contextlib
import math
import numbers
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import validate_data

from jaxad.checks import first_nonfinite, seed_from
from jaxad.estimators import frames
from jaxad.estimators.fitting import Plan, Run, key_from, member_keys
from jaxad.estimators.scaling import fit_scaler
from jaxad.estimators.weights import weighted
from jaxad.rows import ArrayRows, Rows, bucket, unweighted
from jaxad.training import check_diagnostics
from jaxad.training.contract import check_batch_size
from jaxad.training.forks import check_not_forked
from jaxad.typing import Params, Stats


def read(detector: Any, X: Any, y: Any = None, *, reset: bool, labelled: bool = True) -> Rows:
    """Checked rows of ``X``, unscaled, with labels from ``y`` or from the stream.

    Args:
      detector: with ``reset`` it gets the number and names of the features; otherwise ``X`` must
        agree with them.
      X: array-like, a DataFrame, or a stream.
      y: labels ``[N]``; a stream has its own labels.
      reset: whether the detector is fitted to these rows.
      labelled: whether labels are needed.

    Raises:
      ValueError: ``X`` or ``y`` is invalid; the message names the place and the remedy.
      RuntimeError: the process was forked after jaxad had used JAX.
    """
    check_not_forked()
    if isinstance(X, ArrayRows):
        raise ValueError(
            "X holds rows of jaxad.training.as_rows, which are for jaxad.training: give the "
            "array, and its labels as y"
        )
    if not isinstance(X, Rows):
        X = frames.as_pandas(X)
        rows = check_rows(X, detector, images=detector._takes_images(X), reset=reset)
        return unweighted(rows, detector._labels(y, len(rows))) if labelled else unlabelled(rows)
    if y is not None:
        raise ValueError(
            "y was given beside a stream, whose labels come with it: see label= of "
            "jaxad.data.stream"
        )
    stream: Any = X
    stand_in: Any = np.zeros((2, *stream.shape))  # has the stream's shape and columns
    images = detector._takes_images(stand_in)
    if stream.columns is not None and not images:
        stand_in = pd.DataFrame(stand_in, columns=[*stream.columns])
    shape = check_rows(stand_in, detector, images=images, reset=reset).shape[1:]
    return stream if shape == stream.shape else stream.with_channel()


def unlabelled(x: np.ndarray) -> ArrayRows:
    """Rows without labels, of weight 1."""
    return unweighted(x, np.zeros(len(x), np.int32))


def scaled(detector: Any, X: Any) -> Rows:
    """Checked rows of ``X``, scaled by a fitted detector's scaler."""
    return read(detector, X, reset=False, labelled=False).map(detector.scaler_)


@contextlib.contextmanager
def unchanged_by_errors(detector: Any) -> Iterator[None]:
    """Give a detector its attributes back if the block raises an error, or Ctrl-C ends it."""
    before = dict(vars(detector))
    try:
        yield
    except BaseException:
        vars(detector).clear()
        vars(detector).update(before)
        raise


def plan(
    detector: Any,
    X: Any,
    y: Any,
    checkpoints: Any = None,
    *,
    validation: Any = None,
    sample_weight: Any = None,
    sample: bool = False,
) -> Plan:
    """Check arguments and rows, fit the scaler, and plan ``fit``; see `Detector.fit`.

    With ``sample`` there are other rows with other labels, which the caller has checked.
    """
    detector._check_parameters()
    if checkpoints is not None and detector.random_state is None:
        raise ValueError(
            "random_state=None is another seed in every fit, and none could go on from the "
            "checkpoints of the one before: give a whole number"
        )
    continues = detector.warm_start and hasattr(detector, "params_")
    rows = read(detector, X, y, reset=not continues)
    if sample_weight is not None:
        rows = weighted(rows, sample_weight)
    given = None if validation is None else _read_validation(detector, validation)
    return plan_of_rows(detector, rows, given, continues=continues, sample=sample)


def _read_validation(detector: Any, validation: Any) -> ArrayRows:
    """Checked validation rows; a tuple is ``(X, y)``."""
    if detector.validation_fraction:
        raise ValueError(
            f"validation rows and validation_fraction={detector.validation_fraction} are given: "
            "leave one of them out"
        )
    pair = validation if isinstance(validation, tuple) else (validation, None)
    if len(pair) != 2:
        raise ValueError(
            f"validation is a tuple of {len(pair)} values: give rows, or (rows, labels)"
        )
    if isinstance(pair[0], Rows):
        raise ValueError("validation rows are a stream: give an array, since they stay in memory")
    try:
        rows: Any = read(detector, *pair, reset=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation rows: {error}") from error
    return rows


def plan_of_rows(
    detector: Any,
    rows: Rows,
    given: ArrayRows | None = None,
    *,
    continues: bool,
    sample: bool = False,
    arriving: bool = False,
) -> Plan:
    """The plan of a fit to checked rows.

    Args:
      detector: the detector.
      rows: the rows.
      given: checked validation rows.
      continues: whether it starts from the fitted model.
      sample: whether there are other rows, so that no conclusion is drawn from absent labels.
      arriving: whether earlier rows have fitted it, so that these may be few, or of one label.
    """
    seed = seed_from(detector.random_state)
    if not rows.resident:
        _check_streamed(detector, rows)
    trained, held_out, every = _divided(rows, detector.validation_fraction, given, seed)
    survey = _Survey(trained)
    if continues:
        scaler = detector.scaler_
        survey.finish()
    else:
        weight: Any = trained.like.weight if trained.resident else None
        scaler = fit_scaler(detector.scaler, survey.blocks(), rows.shape, weight)
    if survey.count < 2 and not rows.resident and not continues:
        raise ValueError("the source has 1 row: at least 2 are needed to fit")
    count = survey.count
    if not arriving:
        detector._check_rows(rows.shape, count)
        if not sample:
            detector._check_marks(_labels(rows) | survey.labels)
            if given is not None:
                check_binary(detector, _labels(given))
        detector._check_labels(survey.labels)
    validation = every.take(held_out).map(scaler) if len(held_out) else None
    trained, rows = _scaled_once(trained, every, scaler)
    objective, recipe = detector._full_objective(rows.shape, count), detector._recipe(count)
    check_batch_size(objective, recipe.batch_size, rows.shape)  # before the pretraining
    check_diagnostics(objective, recipe, rows.shape)
    size = detector.n_members_ if continues else detector._members(trained)
    first = None if continues else detector._pretraining(objective, trained, seed)
    if first is not None:
        before = _no_larger(first.recipe, survey.count)
        first = first._replace(recipe=before, key=member_keys(first.key, size))
    run = Run(
        detector._of_members(objective, size),
        _no_larger(recipe, count),
        member_keys(key_from(seed), size),
        trained,
        validation,
        first,
        _fitted_model(detector, objective, rows.shape) if continues else None,
    )
    return Plan(scaler, objective, rows, held_out, run)


def check_marks(detector: Any, X: Any, y: Any) -> None:
    """Check that labels of all rows are not misunderstood; detectors get parts of them."""
    detector._check_marks(set(np.unique(detector._labels(y, len(X))).tolist()))


def check_binary(detector: Any, labels: set[int]) -> None:
    """Check labels of further rows only if they look like marks, 0 and 1 without a -1."""
    if labels == {0, 1}:
        detector._check_marks(labels)


def _labels(rows: Rows) -> set[int]:
    """The labels that occur in rows in memory; none of a stream."""
    return set(np.unique(rows.like.label).tolist()) if rows.resident else set()


def _no_larger(recipe: Any, count: int) -> Any:
    """The recipe with batches of no more than ``count`` rows, padded.

    Training cuts the batches of rows in memory itself, but a stream does not know its rows.
    """
    return recipe.replace(batch_size=min(recipe.batch_size, bucket(count)))


class _Survey:
    """A pass over the rows that counts them and collects their labels."""

    def __init__(self, rows: Rows):
        self._rows, self.count, self.labels = rows, 0, set()

    def blocks(self) -> Iterator[np.ndarray]:
        for x, label in self._rows.on_host():
            self.count += len(x)
            self.labels.update(np.unique(label).tolist())
            yield x

    def finish(self) -> None:
        for _ in self.blocks():
            pass


def _check_streamed(detector: Any, rows: Any) -> None:
    name = type(detector).__name__
    if rows.once:
        raise ValueError(
            f"{name}.fit passes over the rows several times, but this source can be read only "
            "once: give jaxad.data.stream a function that returns a fresh iterator, or use "
            "partial_fit"
        )
    if detector.validation_fraction:
        raise ValueError(
            f"validation_fraction={detector.validation_fraction}: rows of a stream cannot be held "
            "out; set it to 0, and give fit validation rows of your own"
        )
    if detector.scaler == "robust":
        raise ValueError("scaler='robust' needs all rows at once: choose 'standard' or 'minmax'")


def _divided(rows: Any, fraction: float, given: Any, seed: int) -> tuple[Rows, np.ndarray, Any]:
    """Rows to train on; and rows for the threshold, with the numbers of those held out.

    Of a stream with validation rows, only these make the threshold.
    """
    if given is not None:
        if not rows.resident:
            return rows, np.arange(len(given.x)), given
        both = zip(rows.like[:3], given.like[:3], strict=True)
        every = ArrayRows(*(np.concatenate(pair) for pair in both))
        return rows, np.arange(len(rows.x), len(every.x)), every
    if not fraction:
        return rows, np.zeros(0, np.int64), rows
    train, held_out = _split(len(rows.x), fraction, seed)
    return rows.take(train), held_out, rows


def _split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows to train on, and of those held out."""
    held_out = round(count * fraction)
    if not held_out:
        raise ValueError(
            f"validation_fraction={fraction} holds out none of {count} rows: raise it, or set it "
            "to 0"
        )
    if held_out >= count:
        raise ValueError(
            f"validation_fraction={fraction} leaves none of {count} rows to train on: lower it"
        )
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _scaled_once(trained: Rows, rows: Any, scaler: Any) -> tuple[Rows, Rows]:
    """Both sets of rows, scaled; the same rows are in memory once."""
    scaled = trained.map(scaler)
    return scaled, scaled if rows is trained else rows.map(scaler)


def _fitted_model(detector: Any, objective: Any, shape: tuple[int, ...]) -> tuple[Params, Stats]:
    """A fitted detector's parameters and statistics, to continue training ``objective``.

    Raises:
      ValueError: the objective's networks for rows of ``shape`` differ from the fitted ones.
    """
    row = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    wanted = _shapes(jax.eval_shape(objective.init, jax.random.key(0), row), axes=0)
    fitted = detector.params_, detector.stats_
    found = _shapes(fitted, axes=int(detector.n_members_ > 1))
    if wanted != found:
        name = min(set(wanted.items()) ^ set(found.items()))[0]
        raise ValueError(
            f"{detector}: its arguments and these rows make other networks than the fitted ones "
            f"(shapes differ at {name}). Give the arguments it was fitted with, or fit a clone"
        )
    return fitted


def _shapes(tree: Any, *, axes: int) -> dict[str, tuple[int, ...]]:
    """The shape of every leaf by its path, without the first ``axes`` axes."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf)[axes:] for path, leaf in leaves}


def check_rows(X: Any, estimator: Any, *, images: bool, reset: bool) -> np.ndarray:
    """Validated rows: ``[N, D]`` of a table, or ``[N, H, W, C]`` of images.

    They are float32 if it represents all values of the input's type (small integers, float32), else
    float64.

    Args:
      X: array-like or DataFrame. Grey images may also be ``[N, H, W]``.
      estimator: with ``reset`` it gets ``n_features_in_``, ``feature_names_in_`` and, for images,
        ``input_shape_``; otherwise ``X`` must agree with these attributes.
      images: whether the network takes images.
      reset: True when fitting (at least two rows are needed), False when scoring.

    Raises:
      ValueError: X is invalid; the message names the place and the remedy.
      TypeError: an element of X is not a number.
    """
    if sparse.issparse(X):
        raise ValueError(
            "Sparse data was passed for X, but dense data is required: use X.toarray()"
        )
    X = X if hasattr(X, "shape") else _as_array(X)
    if isinstance(X, pd.DataFrame):
        _check_names(X)
    X = _usual(X)
    _check_columns(X)
    _check_rank(X, images)
    options: dict[str, Any] = {
        "dtype": "numeric",
        "ensure_2d": not images,
        "allow_nd": images,
        "ensure_all_finite": False,  # `_check_finite` also names the place
        "ensure_min_samples": 2 if reset else 1,
    }
    try:
        rows = np.asarray(validate_data(estimator, X, reset=reset, **options))
    except (TypeError, ValueError, OverflowError) as error:
        text, remedy = str(error).strip(), _remedy(X, estimator, reset)
        text = f"{text.rstrip('.')}. {remedy}" if remedy else text
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(text if re.search(r"\bX\b", text) else f"X: {text}") from error
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"X has type {rows.dtype}, not numbers: encode it as numbers")
    exact = np.can_cast(rows.dtype, np.float32)
    rows = rows.astype(np.float32 if exact else np.float64, copy=False)
    _check_finite(rows, X)
    if images:
        return _check_images(rows, estimator, reset)
    if reset:
        vars(estimator).pop("input_shape_", None)  # of an earlier fit to images
    return rows


def _as_array(X: Any) -> np.ndarray:
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(f"X is not rectangular, give every row the same length: {error}") from None


def _check_names(X: pd.DataFrame) -> None:
    twice = X.columns[X.columns.duplicated()].tolist()
    if twice:
        raise ValueError(
            f"X has several columns named {twice[0]!r}: give each a name of its own, or drop one"
        )
    text = [isinstance(name, str) for name in X.columns]
    if any(text) and not all(text):
        first, other = (X.columns.tolist()[text.index(found)] for found in (True, False))
        raise TypeError(
            f"X has columns named by text and by other values, such as {first!r} and {other!r}: "
            "name all by text, for example X.columns = [str(name) for name in X.columns]"
        )


def _usual(X: Any) -> Any:
    """X with types that numpy calculates with, and NaN for what is masked."""
    if isinstance(X, pd.DataFrame):
        short = {name: np.float32 for name, kind in X.dtypes.items() if _is_short(kind)}
        return X.astype(short) if short else X
    if _is_short(getattr(X, "dtype", None)):
        return np.asarray(X).astype(np.float32)
    if np.ma.is_masked(X) and X.dtype.kind in "biuf":
        return X.astype(np.float64).filled(np.nan)
    return X


def _is_short(kind: Any) -> bool:
    """Whether it is bfloat16 or another type of numbers that numpy lacks; float32 holds them."""
    numeric = jnp.floating, jnp.integer
    return getattr(kind, "kind", "") == "V" and any(jnp.issubdtype(kind, k) for k in numeric)


def _check_columns(X: Any) -> None:
    if not isinstance(X, pd.DataFrame):
        return
    sparse_ones = [name for name, kind in X.dtypes.items() if isinstance(kind, pd.SparseDtype)]
    if sparse_ones:
        raise ValueError(
            f"X: column {sparse_ones[0]!r} is sparse, but dense data is required: use "
            "X.astype(float)"
        )
    numeric = ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty")
    wrong = [
        repr(name)
        for name, column in X.items()
        if not pd.api.types.is_numeric_dtype(column.dtype)
        and not pd.api.types.is_bool_dtype(column.dtype)
        and not (column.dtype == object and pd.api.types.infer_dtype(column) in numeric)
    ]
    if wrong:
        columns = f"column {wrong[0]} is" if len(wrong) == 1 else f"columns {', '.join(wrong)} are"
        raise ValueError(
            f"X: {columns} not numeric: encode or drop {'it' if len(wrong) == 1 else 'them'}, for "
            "example in a Pipeline that begins with sklearn.compose.ColumnTransformer([('encoded', "
            f"sklearn.preprocessing.OneHotEncoder(), [{', '.join(wrong)}])], "
            "remainder='passthrough')"
        )


def _check_rank(X: Any, images: bool) -> None:
    shape = tuple(X.shape)
    if images and len(shape) not in (3, 4):
        raise ValueError(
            f"X has shape {shape}, but this network takes images [N, H, W] or [N, H, W, C]: "
            "reshape X, or choose a network for tables"
        )
    if not images and len(shape) > 2:
        raise ValueError(
            f"Found array with dim {len(shape)}, while dim <= 2 is required: X has shape {shape}; "
            "choose a network for images, or use X.reshape(len(X), -1)"
        )


def _remedy(X: Any, estimator: Any, reset: bool) -> str:
    """A remedy to add to scikit-learn's message about ``X``; empty if the message suffices."""
    shape = tuple(X.shape)
    if isinstance(X, pd.Series):
        return "Pass X.to_frame()."
    types = list(X.dtypes) if isinstance(X, pd.DataFrame) else [getattr(X, "dtype", None)]
    kinds = {getattr(kind, "kind", "") for kind in types}
    if "c" in kinds:
        return "Pass the real and the imaginary part (X.real and X.imag) as columns of their own."
    if "V" in kinds:
        return f"X has type {', '.join(sorted(set(map(str, types))))}: encode it as numbers."
    if kinds & {"O", "S", "U"}:
        for index, value in np.ndenumerate(np.asarray(X, dtype=object)):
            if (wrong := _no_number(value)) is not None:
                return f"X has {wrong}{_place(index, X)}: encode it as a number or drop it."
    if len(shape) > 1 and shape[0] < (2 if reset else 1):
        return "Pass more rows of X."
    if len(shape) == 2 and shape[1] == 0:
        return "Pass at least one column of X."
    if not reset and len(shape) == 2 and shape[1] != getattr(estimator, "n_features_in_", shape[1]):
        return "Pass the columns of X that the detector was fitted on."
    return ""


def _no_number(value: Any) -> str | None:
    """The value in words if no float can hold it, else None."""
    if value is None:
        return None
    if not isinstance(value, numbers.Number) or isinstance(value, complex):
        return repr(value)
    try:
        float(value)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        return "a number too large for float64"
    return None


def _check_finite(rows: np.ndarray, X: Any) -> None:
    if found := first_nonfinite(rows):
        raise ValueError(
            f"Input X contains {found.kind}: first{_place(found.index, X)}, {found.rows} of "
            f"{len(rows)} rows have NaN or infinite values. Replace them (NaN for example with "
            "sklearn.impute.SimpleImputer in a Pipeline) or drop these rows"
        )


def _place(index: Sequence[Any], X: Any) -> str:
    place = f" at row {index[0]}" if len(index) else ""
    if len(index) == 2:
        place += f", column {index[1]}"
        if isinstance(X, pd.DataFrame):
            place += f" ({X.columns[index[1]]!r})"
    elif len(index) > 2:
        place += f", pixel {tuple(int(i) for i in index[1:])}"
    return place


def _check_images(rows: np.ndarray, estimator: Any, reset: bool) -> np.ndarray:
    rows = rows if rows.ndim == 4 else rows[..., None]
    if rows.size == 0:
        raise ValueError(f"X has shape {rows.shape}: images need at least one pixel and channel")
    if reset:
        estimator.input_shape_ = rows.shape[1:]
        estimator.n_features_in_ = math.prod(rows.shape[1:])
    elif not hasattr(estimator, "input_shape_"):
        given = rows.shape[:-1] if rows.shape[-1] == 1 else rows.shape
        raise ValueError(
            f"X has shape {given}, but {type(estimator).__name__} was fitted on a table "
            f"of {estimator.n_features_in_} features: pass rows [N, {estimator.n_features_in_}]"
        )
    elif rows.shape[1:] != tuple(estimator.input_shape_):
        raise ValueError(
            f"X has images of shape {rows.shape[1:]}, but {type(estimator).__name__} is expecting "
            f"{tuple(estimator.input_shape_)}: resize or crop them as for fitting"
        )
    return rows
