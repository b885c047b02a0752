"""Explanations of anomaly scores: what each entry of a row contributes to its score."""

import warnings
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from jaxad.checks import check_choice
from jaxad.estimators import ensemble, fitting, frames, prepare
from jaxad.estimators.fitting import Plan
from jaxad.rows import Rows

_DRAWN = 32  # training rows, of which the half that scores lower is the background
_CUTS = (1, 2, 4, 8, 16)  # numbers of parts of a path, tried in turn
_TOLERANCE = 0.01  # error of the sum, as a share of the contributions' absolute values
_ROUNDING = 1e-5  # error of a score in float32, relative to it
_BLOCK = 2**22  # numbers in memory at a time


def explain(
    detector: Any, X: Any, method: str = "auto", *, background: Any = None, return_base: bool
) -> Any:
    """Contributions of the entries of ``X``; see `jaxad.Detector.explain`."""
    check_is_fitted(detector)
    exact = hasattr(detector.objective_, "contributions")
    if method == "gradient":
        raise ValueError(
            "method='gradient': gradients times entries do not sum to the score; leave method out, "
            "or choose 'integrated_gradients'"
        )
    choices = ("auto", "integrated_gradients", *(["reconstruction"] if exact else []))
    check_choice("method", method, choices)
    rows = prepare.scaled(detector, X)
    if not rows.resident:
        raise ValueError("explain takes rows in memory: give it those in question")
    if exact and method != "integrated_gradients":
        if background is not None:
            raise ValueError(
                "background=... is for method='integrated_gradients': the parts of this "
                "detector's score are exact and not compared with other rows, so leave it out"
            )
        values, base = _reconstruction(detector, rows)
    else:
        x = np.asarray(rows.like.x)
        values, base = _integrated_gradients(detector, x, _scaled(detector, background))
    if values.ndim == 4:  # images
        values = values.sum(axis=-1)
    found = frames.like(X, values)
    return (found, base) if return_base else found


def background_of(plan: Plan, scores: np.ndarray) -> np.ndarray:
    """Typical normal rows ``[K, ...]`` of scaled training rows, for `explain`; K is at most 16.

    Of 32 rows at equal distances they are the half whose scores are lower. Known anomalies and
    held-out rows are left out. Of a stream, the rows are those of its first chunk; beside
    validation rows, which alone have scores, they are not chosen by score.

    Args:
      plan: the plan of the fit.
      scores: scores ``[P, N]`` of the plan's rows.
    """
    scored = plan.run.rows.resident or not len(plan.held_out)
    x, label = next((plan.rows if scored else plan.run.rows).on_host())
    usable = np.ones(len(x), bool)
    if scored:
        usable[plan.held_out] = False
    normal = usable & (np.asarray(label) >= 0)
    places = np.flatnonzero(normal if normal.any() else usable)
    drawn = places[np.unique(np.linspace(0, len(places) - 1, _DRAWN).round().astype(int))]
    if not scored:
        return np.array(x[drawn[: _DRAWN // 2]], np.float32)
    order = np.argsort(scores[:, drawn].mean(axis=0), kind="stable")
    return np.array(x[drawn[np.sort(order[: max(1, len(drawn) // 2)])]], np.float32)


def _scaled(detector: Any, background: Any) -> np.ndarray:
    """The background as scaled rows ``[K, ...]``: the user's, or the detector's own."""
    if background is None:
        own = getattr(detector, "background_", None)
        if own is None:
            raise ValueError(
                "background=None: this detector holds no background rows, as those in files of "
                "earlier versions; pass some of its normal training rows, such as background=X[:50]"
            )
        return own
    rows = prepare.scaled(detector, background)
    if not rows.resident:
        raise ValueError("background is a stream: give rows in memory, 10 to 100 are enough")
    return np.asarray(rows.like.x)


def _units(detector: Any, scores: np.ndarray) -> np.ndarray:
    """The explained score ``[N]`` of scores ``[P, N]``: their mean, or standardised mean."""
    shift, scale = (detector.combination_[name][:, None] for name in ("shift", "scale"))
    return ensemble.average(list((np.asarray(scores, np.float64) - shift) / scale))


def _reconstruction(detector: Any, rows: Rows) -> tuple[np.ndarray, float]:
    """Squared reconstruction errors in the score's units, and the score of a perfect one."""
    scale = detector.combination_["scale"].tolist()
    members = detector._apply("contributions", rows).astype(np.float64)
    values = ensemble.average([own / s for own, s in zip(members, scale, strict=True)])
    return values, float(_units(detector, np.zeros((len(scale), 1)))[0])


def _integrated_gradients(
    detector: Any, x: np.ndarray, background: np.ndarray
) -> tuple[np.ndarray, float]:
    """Contributions to the scores of scaled rows ``x``, averaged over background rows."""
    rows = np.concatenate([x, background])
    model = detector.objective_, detector.params_, detector.stats_
    members = detector.n_members_
    member_scores = fitting.score(
        *model, prepare.unlabelled(rows), members, threads=detector.threads
    )
    score = _units(detector, member_scores)
    base = float(score[len(x) :].mean())
    change = score[: len(x)] - base
    values, short = np.empty(x.shape), np.zeros(len(x), bool)
    size = max(1, _BLOCK // (background.size * (members + 2)))
    for start in range(0, len(x), size):
        block = slice(start, start + size)
        rounding = _ROUNDING * np.abs(member_scores[:, : len(x)][:, block]).max(axis=0)
        values[block], short[block] = _completed(
            detector, x[block], background, change[block], rounding
        )
    if short.any():
        warnings.warn(
            f"the contributions of {int(short.sum())} of {len(x)} rows, such as row "
            f"{int(np.argmax(short))}, are inaccurate: the score changes too abruptly between them "
            "and the background rows for its gradients to be integrated. Their sums are right",
            RuntimeWarning,
            stacklevel=4,
        )
    return values, base


def _completed(
    detector: Any, x: np.ndarray, background: np.ndarray, change: np.ndarray, rounding: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Contributions that sum to ``change`` ``[N]``, and which rows miss it by too much.

    Rows whose integral misses it by too much get a path of twice as many parts. What is missing in
    the end is shared out in proportion to the contributions' absolute values.
    """
    axes = tuple(range(1, x.ndim))
    values, left = np.empty(x.shape), np.arange(len(x))
    scale = detector.combination_["scale"].min()
    for cuts in _CUTS:
        values[left] = _along_paths(detector, x[left], background, cuts)
        missing = np.abs(change - values.sum(axes))
        allowed = _TOLERANCE * np.abs(values).sum(axes) + rounding / scale
        left = np.flatnonzero(~(missing <= allowed))
        if not len(left):
            break
    size = np.abs(values)
    total = size.sum(axes, keepdims=True)
    share = np.divide(size, total, out=np.full(x.shape, 1 / x[0].size), where=total > 0)
    missing = (change - values.sum(axes)).reshape(-1, *(1 for _ in axes))
    short = np.zeros(len(x), bool)
    short[left] = True
    return values + share * missing, short


def _along_paths(detector: Any, x: np.ndarray, background: np.ndarray, cuts: int) -> np.ndarray:
    """Integrated gradients ``[N, ...]`` in the score's units, from paths of ``cuts`` parts."""
    many, row = len(background), x.shape[1:]
    weights = 1 / (detector.combination_["scale"] * detector.n_members_)
    first = np.tile(background, (len(x), *(1 for _ in row)))
    step = (np.repeat(x, many, axis=0) - first) / np.float32(cuts)
    gradient = 0.0
    for cut in range(cuts):
        ends = np.stack([first + cut * step, first + (cut + 1) * step], axis=1)
        members = detector._apply("path_gradient", prepare.unlabelled(ends))
        gradient = gradient + np.tensordot(weights, members.astype(np.float64), 1)
    return (gradient * step).reshape(len(x), many, *row).mean(axis=1)
