"""Runs that `test_faults` kills and starts again; importing this uses no JAX, so it can be forked.

`run` trains one of `KINDS` and writes everything that the run found.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

KINDS = ("single", "ensemble", "soft boundary", "population", "stream", "fleet")


def run(
    kind: str,
    out: str | os.PathLike,
    variables: Mapping[str, str],
    folder: str | os.PathLike | None = None,
    every: float = 0.0,
) -> None:
    """Train, with checkpoints in ``folder``, and write the outcome to ``out``."""
    import jax

    from jaxad import persistence, training

    # A population on four devices; the others as users have them, members on threads.
    jax.config.update("jax_num_cpu_devices", 4 if kind == "population" else 1)
    os.environ |= {"JAXAD_THREADS": "2"} | dict(variables)
    warnings.simplefilter("ignore")
    given = None if folder is None else training.Checkpoints(folder, every=every)
    _tell_when_it_goes_on(Path(f"{out}.resumed"))
    persistence.write(out, _OF[kind](given), {})


def _tell_when_it_goes_on(mark: Path) -> None:
    """Make an empty file ``mark`` once a checkpoint, or a wave of a fleet, is gone on from.

    A run that begins anew instead ends with the same bits, so its results cannot tell.
    """
    from jaxad.fleet import storage
    from jaxad.training.checkpoint import Saver

    resume, read_wave = Saver.resume, storage.read_wave

    def resumed(self, state):
        state, saved = resume(self, state)
        if saved:
            mark.touch()
        return state, saved

    def read(path):
        found = read_wave(path)
        mark.touch()
        return found

    Saver.resume, storage.read_wave = resumed, read


def _rows():
    return np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)


def _detector(checkpoints, rows=None, **options):
    import jaxad

    made = jaxad.DeepSVDD(hidden=(4,), latent_dim=2, random_state=0, batch_size=64, **options)
    made.fit(_rows() if rows is None else rows, checkpoints=checkpoints)
    found = {"params": made.params_, "stats": made.stats_, "history": made.history_}
    found |= {"threshold": made.threshold_, "best": np.array(made.best_epoch_ or 0)}
    return found | {"pretraining": getattr(made, "pretrain_history_", {})}


def _single(checkpoints):
    return _detector(checkpoints, n_members=1, epochs=150)


def _ensemble(checkpoints):
    """Patience ends the members at different epochs."""
    options = {"n_members": 3, "pretrain_epochs": 40, "validation_fraction": 0.2}
    return _detector(checkpoints, epochs=300, patience=30, learning_rate=0.01, **options)


def _soft_boundary(checkpoints):
    options = {"objective": "soft-boundary", "n_members": 1, "warm_up_epochs": 20}
    return _detector(checkpoints, epochs=150, **options)


def _population(checkpoints):
    """Five members on four devices, with sets, rates and numbers of epochs of their own."""
    import jax

    from jaxad import networks, objectives, training

    sets = [_rows()[:n] for n in (300, 65, 128, 250, 31)]
    numbers = {"epochs": np.array([150, 50, 100, 120, 150]), "learning_rate": np.full(5, 1e-2)}
    recipe = training.Recipe(batch_size=64, **numbers)
    svdd, keys = objectives.deep_svdd(networks.MLP((4, 2))), jax.random.split(jax.random.key(0), 5)
    found = training.fit_population(svdd, recipe, keys, sets, checkpoints=checkpoints)
    return {"params": found.params, "stats": found.stats, "history": found.history}


def _stream(checkpoints):
    from jaxad import data

    return _detector(checkpoints, data.stream(_rows(), rows=128), n_members=2, epochs=60)


def _fleet(checkpoints):
    """Each wave of a few groups is a checkpoint."""
    import pandas as pd

    import jaxad
    from jaxad.fleet import survey

    survey.WAVE_BYTES = 100 * 4 * 5
    codes = np.repeat(np.arange(60), 60)
    x = np.random.default_rng(0).normal(size=(len(codes), 5)) + codes[:, None] % 7
    frame = pd.DataFrame(x.astype(np.float32), columns=list("abcde"))
    frame["machine"] = [f"m{code:02d}" for code in codes]
    detector = jaxad.DeepSVDD(hidden=(4,), latent_dim=2, epochs=5, n_members=1, random_state=0)
    options = {"min_rows": 50, "false_alarm_rate": 0.1, "random_state": 0}
    fleet = jaxad.Fleet(detector, "machine", **options).fit(frame, checkpoints=checkpoints)
    scored = fleet.score(frame)
    return {name: scored[name].to_numpy() for name in ("score", "p_value", "is_anomaly")}


_OF = {
    "single": _single,
    "ensemble": _ensemble,
    "soft boundary": _soft_boundary,
    "population": _population,
    "stream": _stream,
    "fleet": _fleet,
}
