"""Six methods of 2020 to 2026 with one setting for all sets, on the tables of OddBench, beside kNN.

The networks are small enough for 300 sets, and were chosen on 30 even-numbered ones. The number of
epochs follows from the number of rows, as for all detectors, and never from a set's name. Each
method has one network, DEAN eight on bags of features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jaxad
from benchmarks.quality import oddbench, studies
from benchmarks.quality.adbench_tables import untrained
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from jaxad import networks, objectives

DESCRIPTION = "younger methods, plain, trimmed and untrained, on 300 tables of OddBench"


@jaxad.register_loss
def icl(shape: tuple[int, ...]) -> Any:
    """Internal contrastive learning."""
    del shape
    return objectives.icl(networks.MLP((32, 16)), networks.MLP((32, 16)))


@jaxad.register_loss
def dte_c(shape: tuple[int, ...]) -> Any:
    """Diffusion time, with the paper's 7 bins."""
    del shape
    return objectives.dte_c(networks.MLP((64, 64, 7), activation="relu", use_bias=True))


@jaxad.register_loss
def dean(shape: tuple[int, ...]) -> Any:
    """Networks on bags of features: as many as the largest power of two below their number.

    All tables of one padded width have one size of bags, and so one program.
    """
    bag = 1 << max(0, (shape[0] - 1).bit_length() - 1)
    return objectives.dean(networks.MLP((64, 64, 1)), bag=bag)


@jaxad.register_loss
def neutral_ad(shape: tuple[int, ...]) -> Any:
    """Six learned views; the paper has 11."""
    encoder, transform = networks.MLP((32, 32)), networks.MLP((32, *shape))
    return objectives.neutral_ad(encoder, transform, n_transforms=6)


# Those that are detectors of their own; the others are objectives in an `ObjectiveDetector`.
KINDS: dict[str, Any] = {
    "tccm": jaxad.TCCM,
    "k_dsm": jaxad.KDSM,
    "deep_svdd": jaxad.DeepSVDD,
}
# Name -> the arguments of its detector, beside n_members=1.
SETTINGS: dict[str, dict[str, Any]] = {
    "tccm": {},
    "k_dsm": {},
    "dte_c": {"make_objective": dte_c, "weight_decay": 5e-4},
    "neutral_ad": {"make_objective": neutral_ad, "batch_size": 32},
    "icl": {"make_objective": icl, "batch_size": 32},
    "dean": {"make_objective": dean, "n_members": 8},
    "deep_svdd": {},
}
TRIM = 0.2  # as K-DSM's paper
CONTENDERS = (*SETTINGS, *studies.REFERENCES)
DEFAULTS: dict[str, Any] = oddbench.DEFAULTS | {"detectors": CONTENDERS}
CHOICES = oddbench.CHOICES | {"detectors": CONTENDERS}
circumstances = oddbench.circumstances
pictures = oddbench.pictures
summary = oddbench.summary


def detector(name: str, **options: Any) -> Any:
    """A method with its one setting for all sets, and other options."""
    kind = KINDS.get(name, jaxad.ObjectiveDetector)
    return kind(**{"n_members": 1} | SETTINGS[name] | options)


def trimmed(name: str) -> str:
    """The name of the copy that leaves out the rows of each batch that lose most."""
    return f"{name} trimmed"


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each method, its untrained and its trimmed copy, and for each reference."""
    variants: dict[str, Any] = {}
    for name in settings["detectors"]:
        if name in SETTINGS:
            variants[name] = detector(name)
            variants[untrained(name)] = detector(name, epochs=0)
            variants[trimmed(name)] = detector(name, trim=TRIM)
        else:
            variants[name] = studies.REFERENCES[name]
    options = {"known_anomalies": settings["known_anomalies"], "means": True}
    return studies.parts(variants, oddbench.load(settings), settings["seeds"], **options)


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """What the figures allow to conclude, and what trimming costs where rows are clean."""
    pairs = oddbench.differences(studies.table_of(rows), "Plain against trimmed:", trimmed)
    return "\n\n".join(filter(None, [oddbench.text(rows, settings), pairs]))
