"""Detectors on rows that do not fit into memory: what ``fit`` trains, and what scoring reads."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from jaxad.estimators.checks import check_rows
from jaxad.estimators.members import to_go_on
from jaxad.estimators.plan import Plan, key_from
from jaxad.estimators.scaling import fit_scaler_in_blocks
from jaxad.stream import Block, Stream, join_blocks


def plan(detector: Any, source: Stream, y: Any, seed: int, going_on: bool) -> Plan:
    """Check everything, in a pass that fits the scaler, and say what is to be trained."""
    _check_options(detector, source, y)
    source = _shaped(detector, source, reset=not going_on)
    survey = _Survey(source)
    if going_on:
        scaler = detector.scaler_
        for _ in survey.rows():
            pass
    else:
        scaler = fit_scaler_in_blocks(detector.scaler, survey.rows(), source.shape)
    if survey.count < 2:
        raise ValueError("the source has 1 row: at least 2 are needed to fit")
    detector._labels(np.array(sorted(survey.labels)), len(survey.labels))
    x = scaler(survey.head)
    detector._check_rows(x)
    objective = detector._objective(x.shape[1:], survey.count)
    rows = source.map(scaler, source.shape)
    first = None if going_on else detector._pretraining(objective, x, np.zeros(len(x)), seed)
    if first is not None:
        on = rows
        if getattr(detector, "pretrain_on", "all") == "unlabelled":
            on = _unlabelled(rows, 0 in survey.labels)
        first = first._replace(rows=on)
    count = 1 if detector.n_members == "auto" else int(detector.n_members)
    return Plan(
        scaler=scaler,
        x=x,
        held_out=np.zeros(0, np.int64),
        objective=objective,
        recipe=detector._recipe(survey.count),
        key=key_from(seed),
        rows=rows,
        validation=None,
        pretraining=first,
        n_members=detector.n_members_ if going_on else count,
        initial=to_go_on(detector, objective, x.shape[1:]) if going_on else None,
    )


def scaled(detector: Any, source: Stream) -> Stream:
    """The rows as the fitted detector's network takes them."""
    source = _shaped(detector, source, reset=False)
    return source.map(detector.scaler_, source.shape)


def frames(source: Stream) -> Iterator[tuple[Any, np.ndarray]]:
    """The chunks with their labels; as DataFrames where the columns have names.

    A last chunk of less than half the size, too few rows to end on, is one with that before it.
    """
    for x, label in _without_short_end(source.on_host(), source.rows // 2):
        yield x if source.columns is None else pd.DataFrame(x, columns=[*source.columns]), label


def _without_short_end(blocks: Iterator[Block], least: int) -> Iterator[Block]:
    # Copies, since a source may fill the same array again.
    copies = ((np.array(x), np.array(label)) for x, label in blocks)
    held = next(copies)
    for block in copies:
        if len(block[0]) < least:  # only the last one is
            held = join_blocks([held, block])
        else:
            yield held
            held = block
    yield held


def check_labels_come_along(y: Any) -> None:
    """Raise a ValueError where labels are given beside a stream."""
    if y is not None:
        raise ValueError(
            "y was given beside a stream, whose labels come with it: see label= of "
            "jaxad.data.stream"
        )


class _Survey:
    """A pass that tells how many rows there are, which labels, and what the first chunk is."""

    def __init__(self, source: Stream):
        self.source, self.count, self.labels = source, 0, set()
        self.head: np.ndarray

    def rows(self) -> Iterator[np.ndarray]:
        for x, label in self.source.on_host():
            if not self.count:
                self.head = np.array(x)
            self.count += len(x)
            self.labels.update(np.unique(label).tolist())
            yield x


def _check_options(detector: Any, source: Stream, y: Any) -> None:
    name = type(detector).__name__
    if source.once:
        raise ValueError(
            f"{name}.fit passes over the rows several times, but this source can be read only "
            "once: give jaxad.data.stream a function that returns a fresh iterator, or use "
            "partial_fit"
        )
    check_labels_come_along(y)
    if detector.validation_fraction:
        raise ValueError(
            f"validation_fraction={detector.validation_fraction}: rows of a stream cannot be held "
            "out; set it to 0 and set threshold_ from rows of your own"
        )
    if detector.scaler == "robust":
        raise ValueError("scaler='robust' needs all rows at once: choose 'standard' or 'minmax'")


def _shaped(detector: Any, source: Stream, *, reset: bool) -> Stream:
    """The source with a channel where images have none, checked like rows of its shape."""
    stand_in: Any = np.zeros((2, *source.shape))
    images = detector._takes_images(stand_in)
    if source.columns is not None and not images:
        stand_in = pd.DataFrame(stand_in, columns=[*source.columns])
    shape = check_rows(stand_in, images=images, estimator=detector, reset=reset).shape[1:]
    return source if shape == source.shape else source.map(lambda x: x[..., None], shape)


def _unlabelled(rows: Stream, any_unlabelled: bool) -> Stream:
    """Those that are unlabelled; where there are none, those that are no known anomalies."""

    def read(size: int) -> Iterator[Block]:
        for x, label in rows.read(size):
            on = label == 0 if any_unlabelled else label >= 0
            yield x[on], label[on]

    return dataclasses.replace(rows, read=read)
