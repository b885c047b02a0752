"""What the groups of a fleet share: seed, columns, prior of the scalers, global model."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from jaxad.estimators import ensemble
from jaxad.estimators.devices import on_device
from jaxad.estimators.fitting import REMEDY
from jaxad.fleet import scaling
from jaxad.fleet.models import Models
from jaxad.fleet.scaling import Moments, Prior
from jaxad.fleet.scoring import Bank, Request, gathered
from jaxad.fleet.survey import Survey
from jaxad.training import NonFiniteError, sets
from jaxad.training.mesh import default_mesh, used_devices
from jaxad.typing import Params, Stats

GLOBAL = -1  # the number of the global model


class Shared(NamedTuple):
    """What the groups of a fleet share.

    Attributes:
      seed: of the fleet.
      columns: names of the features.
      prior: of the groups' scalers.
      detector: the global model, a fitted detector.
      held_out: its scores of rows that only calibrate, float32, ascending.
    """

    seed: int
    columns: tuple[Any, ...]
    prior: Prior
    detector: Any
    held_out: np.ndarray

    @property
    def model(self) -> tuple[Params, Stats]:
        """Parameters and statistics of the global model on the host, leaves ``[P, ...]``."""
        model = jax.device_get((self.detector.params_, self.detector.stats_))
        return model if self.detector.n_members_ > 1 else jax.tree.map(lambda v: v[None], model)

    def scalers(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale ``[G, D]`` for groups with these moments."""
        if self.detector.scaler == "none":
            return np.zeros_like(moments.mean), np.ones_like(moments.mean)
        return scaling.shrunk(self.prior, moments)

    def bank(self, models: Models | None) -> Bank:
        """The models of groups, and the global one, to score by."""
        detector, shared = self.detector, self.model
        row = (len(self.columns),)
        objectives = {GLOBAL: detector.objective_}

        def objective(m: int) -> Any:
            rows = m if m == GLOBAL or models is None else int(models.arrays["facts"]["rows"][m])
            key = rows if m != GLOBAL else GLOBAL
            if key not in objectives:
                objectives[key] = detector._full_objective(row, rows)
            return objectives[key]

        own = None if models is None else (models.arrays["params"], models.arrays["stats"])

        def model(numbers: np.ndarray, members: np.ndarray) -> tuple[Params, Stats]:
            return gathered(own, shared, numbers, members)

        with on_device(detector.device):
            mesh = default_mesh(used_devices(local=True))
            side = sets.side_by_side(detector.objective_, row, sets.SCORED, mesh)
        return Bank(objective, model, detector.n_members_, side, mesh, detector.device)


def begin(
    detector: Any,
    found: Survey,
    *,
    seed: int,
    labelled: bool,
    checkpoints: Any = None,
) -> Shared:
    """Fit what the groups share: the prior, and the global model with its held-out scores.

    Args:
      detector: an unfitted detector with the seed and number of members of the global model.
      found: the survey of all groups.
      seed: of the fleet.
      labelled: whether the table has labels.
      checkpoints: as for the detector's ``fit``.

    Raises:
      ValueError: fewer than two rows are left to train on.
      jaxad.NonFiniteError: a member of the global model failed, or none of its scores is finite.
    """
    columns = found.columns
    x, label, calibrates = found.drawn_evenly()
    train = ~calibrates
    if train.sum() < 2:
        raise ValueError(
            f"the table has {int(found.rows.sum())} rows, of which {int(train.sum())} can train "
            "the global model, which needs at least 2: give more rows"
        )
    prior = scaling.fit_prior(found.moments)
    named = all(isinstance(name, str) for name in columns)
    frame = pd.DataFrame(x[train], columns=list(columns)) if named else x[train]
    members = detector.n_members
    given = frame, label[train] if labelled else None, checkpoints
    detector._fit(*given, sample=True)
    del detector.reference_scores_  # a fleet has thresholds of its own
    if detector.n_members_ < members:
        raise NonFiniteError(
            f"the global model of a fleet met steps that are not finite in "
            f"{members - detector.n_members_} of {members} members. {REMEDY}"
        )
    shared = Shared(seed, columns, prior, detector, np.zeros(0, np.float32))
    if calibrates.any():
        held = detector.scaler_(x[calibrates])
        request = Request(GLOBAL, len(held), lambda rows: held[rows])
        (scores,) = shared.bank(None).apply("score", [request], threads=detector.threads)
        combined = ensemble.combine(detector.combination_, scores).astype(np.float32)
        if not np.isfinite(combined).any():
            raise NonFiniteError(
                f"the global model of a fleet has no finite score of {len(held)} rows that it was "
                f"not trained on. {REMEDY}"
            )
        combined[np.isnan(combined)] = np.inf  # a row so far off that float32 cannot hold it
        shared = shared._replace(held_out=np.sort(combined))
    return shared
