"""Variants of a loss or detector, from a config file: compared fairly, with error bars.

A config names each variant's detector, its loss by import path, arguments, and the numbers to try;
see ``configs/variants``.
"""

import importlib
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import jaxad
from benchmarks.quality import adbench, oddbench, studies
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.settings import OptionError, check_known
from jaxad import data, networks, objectives, plotting, study

DESCRIPTION = "variants of losses and detectors, from a config file in configs/variants"
SINGLY = "one by one"
DEFAULTS: dict[str, Any] = {
    "seeds": 5,
    "datasets": adbench.SETS,
    "setting": ("unsupervised",),
    "max_rows": 20_000,
    "known_anomalies": 0,
    "baseline": ("",),
    "variants": {},
    "one_by_one": False,  # also time every fit of the first seed alone
    "oddbench": ("",),  # a half of OddBench's sets, with their own splits, instead of ``datasets``
    "every": 1,  # of these, the first, one so many further on, ...
}
CHOICES = {
    "datasets": adbench.SETS,
    "setting": tuple(adbench.RULES),
    "oddbench": ("", *oddbench.HALVES),
}
_OF_A_VARIANT = ("detector", "reference", "loss", "make_objective", "arguments", "numbers")


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the default sets by those that need no download."""
    if settings["oddbench"][0]:
        return dict(settings)
    return {**settings, "datasets": adbench.available(settings["datasets"])}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each variant and choice of numbers; and all of them fitted one by one."""
    variants, numbers = read(settings["variants"])
    options = {"setting": None, "known_anomalies": settings["known_anomalies"]}
    if half := settings["oddbench"][0]:
        every: Any = oddbench.load({"half": (half,), "max_sets": None})
        sets = dict(list(every.items())[:: settings["every"]])
    else:
        options["setting"] = adbench.RULES[settings["setting"][0]]
        sets = {name: _table(name, settings["max_rows"]) for name in settings["datasets"]}
    found = studies.parts(variants, sets, settings["seeds"], numbers=numbers, **options)
    if settings["one_by_one"]:
        found[SINGLY] = lambda: [_one_by_one(variants, numbers, sets, options)]
    return found


def read(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The variants of a config by name, and their numbers; an `OptionError` says what is wrong."""
    if not given:
        raise OptionError(
            "no variants are given: write a config such as configs/variants/first.toml, and name "
            "it with --config"
        )
    variants: dict[str, Any] = {}
    numbers: dict[str, list[dict[str, Any]]] = {}
    for name, how in given.items():
        if not isinstance(how, dict):
            raise OptionError(f"variant {name!r} must be a table, [variants.{name}]")
        check_known(f"key of variant {name}", list(how), _OF_A_VARIANT)
        variants[name] = _variant(name, how)
        if how.get("numbers"):
            grid = {k: [_plain(v) for v in values] for k, values in how["numbers"].items()}
            numbers[name] = [
                c.numbers for c in study.contenders.contenders({name: variants[name]}, {name: grid})
            ]
    return variants, numbers


def _variant(name: str, how: Mapping[str, Any]) -> Any:
    if "reference" in how:
        check_known("reference", [how["reference"]], list(studies.REFERENCES))
        return studies.REFERENCES[how["reference"]]
    check_known("detector", [how.get("detector", "")], list(jaxad.estimators.DETECTORS))
    functions = {k: imported(how[k]) for k in ("loss", "make_objective") if k in how}
    arguments = {k: _plain(v) for k, v in how.get("arguments", {}).items()}
    try:
        return jaxad.estimators.DETECTORS[how["detector"]](**functions, **arguments)
    except TypeError as error:
        raise OptionError(f"variant {name!r}: {error}") from error


def imported(path: str) -> Any:
    """The function with an import path such as ``jaxad.losses.hypersphere.pseudo_huber``."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"{path!r} is no function that can be imported: {error}") from error


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _table(name: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most so many rows of a set, drawn once, and their marks.

    The share of anomalies is kept, but ten of them, where there are so many.
    """
    found = data.load(name)
    marks = np.asarray(found.is_anomaly)
    if len(marks) > most:
        odd, normal = np.flatnonzero(marks), np.flatnonzero(~marks)
        few = min(len(odd), max(10, round(most * len(odd) / len(marks))))
        random = np.random.default_rng(0)
        drawn = random.choice(odd, few, False), random.choice(normal, most - few, False)
        rows = np.sort(np.concatenate(drawn))
    else:
        rows = np.arange(len(marks))
    return np.asarray(found.x)[rows], marks[rows]


def _one_by_one(
    variants: Mapping[str, Any],
    numbers: Mapping[str, Any],
    sets: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Row:
    """Fit and score every contender alone with the first seed, as without `jaxad.study`."""
    began, fits = time.perf_counter(), 0
    with jaxad.training.Stopwatch() as watch:
        for contender in study.contenders.contenders(variants, numbers):
            for name, given in sets.items():
                task = study.sets.task(
                    name, given, 0, options["setting"], options["known_anomalies"]
                )
                detector = contender.detector(task)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    study.probes.fitted_scores(detector, task)
                fits += 1
    details = {
        "fits": fits,
        "compilations": watch.compilations,
        "compile_seconds": round(watch.compile_seconds, 1),
    }
    return Row(SINGLY, SINGLY, {"seconds": [time.perf_counter() - began]}, details, part=SINGLY)


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """What the figures allow to conclude, and what the study took."""
    compared = [row for row in rows if row.detector != SINGLY]
    half = settings["oddbench"][0]
    numbered = half if half == "all" else f"{half}-numbered"
    setting = f"{numbered} sets of OddBench" if half else f"setting {settings['setting'][0]!r}"
    table = studies.table_of(compared)
    found = [
        f"{table['set'].nunique()} sets, {setting}, {settings['seeds']} seed(s). "
        f"{studies.effort(compared)}",
    ]
    for baseline in _baselines(table, settings):
        found += [f"== against {baseline}", str(study.report(table, baseline=baseline))]
    for row in rows:
        if row.detector == SINGLY:
            measured, compiling = row.metrics["seconds"][0], row.details["compile_seconds"]
            together = sum(r.details["seconds"] for r in compared if r.detector != studies.SETS)
            # Programs are compiled once for all seeds, so further seeds only run.
            alone = compiling + (measured - compiling) * settings["seeds"]
            found.append(
                f"One by one, by fit and anomaly_score in a loop, the {row.details['fits']:,} fits "
                f"of one seed took {measured / 60:.1f} minutes, {compiling / 60:.1f} of them for "
                f"{row.details['compilations']} compilations. All {settings['seeds']} seeds would "
                f"take {alone / 60:.1f} minutes, {alone / together:.1f} times as long as together."
            )
    return "\n\n".join(found)


def _baselines(table: Any, settings: Mapping[str, Any]) -> list[str]:
    """The contenders that others are compared with: those named, else the first of all."""
    first = table.iloc[0]
    named = [name for name in settings["baseline"] if name]
    return named or [study.runs.name_of(first["variant"], first["numbers"])]


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Average ranks, and differences to the baseline with intervals."""
    table = studies.table_of([row for row in rows if row.detector != SINGLY])
    found = study.report(table, baseline=_baselines(table, settings)[0])
    drawn = {
        "variants_differences": ("Differences to the baseline", plotting.forest(found.differences))
    }
    if found.ranking is not None and len(found.ranking.ranks) > 1:
        drawn["variants_ranks"] = (
            "Average ranks",
            plotting.average_ranks({"AUROC": found.ranking}),
        )
    return drawn


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Markdown for the report of results."""
    table = studies.table_of([row for row in rows if row.detector != SINGLY])
    return study.report(table, baseline=_baselines(table, settings)[0]).markdown()


# Objectives that configs name.


def loe(shape: tuple[int, ...], *, share: float) -> Any:
    """Latent outlier exposure around Deep SAD's loss, on a small network."""
    del shape
    encoder = networks.MLP((32, 16, 8), batch_norm=True)
    return objectives.LOE(objectives.deep_sad(encoder, epsilon=1e-3), share)


def denoised(shape: tuple[int, ...], *, noise: float) -> Any:
    """Deep SVDD on noisy inputs, with a small network."""
    del shape
    return objectives.Denoised(objectives.deep_svdd(_small()), noise)


def feature_bag(shape: tuple[int, ...], *, share: float) -> Any:
    """Deep SVDD on some of the columns, with a small network."""
    del shape
    return objectives.FeatureBag(objectives.deep_svdd(_small()), share)


def _small() -> Any:
    return networks.MLP((32, 16, 8), batch_norm=True)
