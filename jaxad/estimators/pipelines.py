"""Explanations of a Pipeline: contributions by the columns that were given to it."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from jaxad.estimators import frames
from jaxad.estimators.base import Detector


def explain(
    estimator: Any,
    X: Any,
    method: str = "auto",
    *,
    background: Any = None,
    return_base: bool = False,
) -> Any:
    """What each column of ``X`` contributes to its row's score, also in a Pipeline.

    Of a Pipeline the columns that a step makes of one column, such as the indicators of
    ``OneHotEncoder`` or the parts of a date, are added up again, under the name of that column.
    Columns that a step mixes from several, such as those of ``PCA``, keep the name that the step
    gives them. To see the columns before they are added up, call ``explain`` of the detector:
    ``pipeline[-1].explain(pipeline[:-1].transform(X))``.

    Args:
      estimator: a fitted detector, or a fitted scikit-learn Pipeline that ends with one.
      X: rows in memory, as for the estimator.
      method, background, return_base: see `jaxad.Detector.explain`. The background is given to the
        Pipeline, too.

    Returns:
      Of a detector, what its ``explain`` returns. Of a Pipeline a frame ``[N, C]`` of the columns,
      in the library of ``X``, or of pandas where X is an array; with ``return_base`` a pair of it
      and the base.

    Raises:
      TypeError: the estimator is no detector and does not end with one.

    Example:
      >>> import jaxad, numpy as np, pandas as pd
      >>> from sklearn.compose import make_column_transformer
      >>> from sklearn.pipeline import make_pipeline
      >>> from sklearn.preprocessing import OneHotEncoder
      >>> random = np.random.default_rng(0)
      >>> frame = pd.DataFrame({"site": random.choice(["a", "b"], 200)})
      >>> frame["heat"] = random.normal(size=200)
      >>> encode = make_column_transformer(
      ...     (OneHotEncoder(sparse_output=False), ["site"]), remainder="passthrough"
      ... )
      >>> detector = jaxad.DeepSVDD(epochs=5, n_members=1, random_state=0)
      >>> pipeline = make_pipeline(encode, detector).fit(frame)
      >>> parts = jaxad.explain(pipeline, pd.DataFrame({"site": ["a"], "heat": [9.0]}))
      >>> parts.columns.tolist(), parts.idxmax(axis=1).tolist()
      (['site', 'heat'], ['heat'])
    """
    steps = estimator if isinstance(estimator, Pipeline) else [estimator]
    detector: Any = steps[-1]
    if not isinstance(detector, Detector):
        raise TypeError(
            f"estimator={estimator!r} is no jaxad detector, nor a Pipeline that ends with one"
        )
    if not isinstance(estimator, Pipeline) or len(estimator) == 1:
        return detector.explain(X, method, background=background, return_base=return_base)
    before: Any = estimator[:-1]
    if background is not None:
        background = before.transform(background)
    options: dict[str, Any] = {"background": background, "return_base": True}
    values, base = detector.explain(before.transform(X), method, **options)
    given = getattr(X, "columns", None)
    names = [f"x{i}" for i in range(np.shape(X)[1])] if given is None else list(given)
    found = _added_up(np.asarray(values), origins(before, names), names)
    explained = frames.like(X, found.to_numpy(), found.columns) if given is not None else found
    return (explained, base) if return_base else explained


def origins(step: Any, columns: Sequence[Any]) -> list[Any]:
    """The input column that each output of a fitted transformer comes from.

    An output that comes from several columns, or from unknown ones, has its own name instead.

    Args:
      step: a fitted transformer, ColumnTransformer or Pipeline of them.
      columns: names of its inputs.

    Example:
      >>> from sklearn.preprocessing import OneHotEncoder
      >>> encoder = OneHotEncoder().fit(pd.DataFrame({"site": ["a", "b"], "site_b": ["c", "c"]}))
      >>> origins(encoder, ["site", "site_b"])
      ['site', 'site', 'site_b']
    """
    if isinstance(step, str):  # "passthrough"
        return list(columns)
    if isinstance(step, Pipeline):
        for _, part in step.steps:
            columns = origins(part, columns)
        return list(columns)
    if not isinstance(step, ColumnTransformer):
        return _by_marks(step, columns)
    outputs = max((place.stop or 0 for place in step.output_indices_.values()), default=0)
    found: list[Any] = [None] * outputs
    table = pd.DataFrame(columns=list(columns))
    for name, part, chosen in step.transformers_:
        place = step.output_indices_[name]
        if part != "drop" and place.stop > place.start:
            found[place] = origins(part, _chosen(table, chosen))
    return found


def _chosen(table: pd.DataFrame, chosen: Any) -> list[Any]:
    """Names of the columns that a part of a ColumnTransformer takes."""
    chosen = [chosen] if isinstance(chosen, str | int) else chosen
    first = chosen.start if isinstance(chosen, slice) else next(iter(chosen), 0)
    by_name = isinstance(first, str) or isinstance(first, bool | np.bool_)
    return list((table.loc if by_name else table.iloc)[:, chosen].columns)


def _by_marks(step: Any, columns: Sequence[Any]) -> list[Any]:
    """Tell origins by giving the inputs names that occur nowhere else in the outputs' names."""
    marks = [f"\x00{i}\x00" for i in range(len(columns))]
    unnamed = copy.copy(step)
    vars(unnamed).pop("feature_names_in_", None)
    try:
        outputs = [str(name) for name in unnamed.get_feature_names_out(marks)]
    except (AttributeError, TypeError, ValueError):  # it names no outputs, or not by their inputs
        return _own_names(step, columns)
    found = []
    for output in outputs:
        sources = [i for i, mark in enumerate(marks) if mark in output]
        if len(sources) == 1:
            found.append(columns[sources[0]])
        else:
            for mark, column in zip(marks, columns, strict=True):
                output = output.replace(mark, str(column))
            found.append(output)
    return found


def _own_names(step: Any, columns: Sequence[Any]) -> list[Any]:
    """Names of the outputs of a step that cannot tell what they come from."""
    try:
        return list(step.get_feature_names_out())
    except (AttributeError, TypeError, ValueError):
        return [f"{type(step).__name__.lower()}{i}" for i in range(len(columns))]


def _added_up(values: np.ndarray, sources: list[Any], names: list[Any]) -> pd.DataFrame:
    """Contributions ``[N, D]`` by origin, columns of the input first."""
    if len(sources) != values.shape[1]:
        sources = [f"column {i}" for i in range(values.shape[1])]
    order = [name for name in names if name in set(sources)]
    order += [name for name in dict.fromkeys(sources) if name not in set(names)]
    summed = {
        name: values[:, [i for i, source in enumerate(sources) if source == name]].sum(axis=1)
        for name in order
    }
    return pd.DataFrame(summed, columns=order)
