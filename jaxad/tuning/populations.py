"""The trials of a batch that have one structure, trained together as one population."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxad import training
from jaxad.estimators import Detector, fitting
from jaxad.estimators.devices import on_device


class Candidate(NamedTuple):
    """A trial, the detector with its settings, and the plan of the detector's fit."""

    trial: Any
    detector: Detector
    plan: fitting.Plan

    @property
    def epochs(self) -> int:
        """The epochs after which the training is complete."""
        return int(self.plan.run.recipe.epochs)


class Population:
    """Candidates of one structure and device. Members of those that leave are trained no further.

    Args:
      candidates: the candidates.
      threads: as in `jaxad.training.fit_population`.

    Attributes:
      candidates: those that are left.
      epoch: the number of epochs they have been trained.
    """

    def __init__(self, candidates: Sequence[Candidate], threads: int | None):
        self.candidates, self._threads = list(candidates), threads
        self.epoch, self._history = 0, None
        self._run = fitting.as_population([c.plan.run for c in candidates], population=True)
        run, self._device = self._run, self.candidates[0].detector.device
        with on_device(self._device):
            initial, self._pretrained = fitting.initial_of(run, threads=threads)
            self._state = training.begin(
                *(run.objective, run.recipe, run.key, run.rows), initial=initial, threads=threads
            )

    def advance(self, epochs: int) -> list[Candidate]:
        """Train up to ``epochs`` epochs in all; return candidates whose training failed.

        The other candidates' detectors are fitted as after so many epochs.
        """
        with on_device(self._device):
            return self._advance(epochs)

    def _advance(self, epochs: int) -> list[Candidate]:
        run, places = self._run, {"threads": self._threads}
        self._state, result = training.advance(
            *(run.objective, run.recipe, self._state, run.rows),
            epochs=epochs - self.epoch,
            mark_failures=True,
            **places,
        )
        self.epoch = epochs
        if self._pretrained is not None:
            result = result._replace(failed=result.failed | self._pretrained.failed)
        plans, failed = [c.plan for c in self.candidates], []
        with training.Stopwatch() as watch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a collapsed candidate has a bad value, that is all
            trained = fitting.outcomes(plans, result, self._pretrained, **places)
            for candidate, outcome in zip(self.candidates, trained, strict=True):
                if outcome is None:
                    failed.append(candidate)
                else:
                    candidate.detector._adopt(candidate.plan, outcome, watch)
        return failed

    def drop(self, leaving: Sequence[Candidate]) -> None:
        """Train the others only."""
        numbers = {candidate.trial.number for candidate in leaving}
        stays = [c.trial.number not in numbers for c in self.candidates]
        kept = np.repeat(stays, [c.plan.run.size for c in self.candidates])
        self.candidates = [c for c, stay in zip(self.candidates, stays, strict=True) if stay]
        if kept.all() or not kept.any():
            return
        self._run = fitting.as_population([c.plan.run for c in self.candidates], population=True)
        self._state = jax.tree.map(lambda leaf: leaf[kept], self._state)
        if self._pretrained is not None:
            self._pretrained = self._pretrained.take(kept)


def populations(candidates: Sequence[Candidate], threads: int | None) -> list[Population]:
    """Candidates as populations, one for each structure and device."""
    groups: dict[Any, list[Candidate]] = {}
    for candidate in candidates:
        kind = type(candidate.detector), candidate.plan.run.structure, candidate.detector.device
        groups.setdefault(kind, []).append(candidate)
    return [Population(group, threads) for group in groups.values()]
