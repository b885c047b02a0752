"""What the epochs of a run recorded, as one history; of a population, each member's in its row."""

from collections.abc import Sequence

import numpy as np

NAMES = "loss", "learning_rate", "skipped"

Records = dict[str, np.ndarray]


def in_one(records: Sequence[Records]) -> Records:
    """The records ``[epochs]`` of one group of epochs after the other."""
    names = records[0] if records else NAMES
    return {
        name: np.concatenate([np.zeros(0, np.float32), *[r[name] for r in records]])
        for name in names
    }


def empty(members: int, *, validated: bool) -> Records:
    """``[P, 0]``, with a validation loss where there are rows for it."""
    names = (*NAMES, "validation_loss") if validated else NAMES
    return {name: np.zeros((members, 0), np.float32) for name in names}


def enter(history: Records, record: Records, before: np.ndarray, done: np.ndarray) -> None:
    """Put what each member's epochs from ``before`` ``[P]`` to ``done`` recorded in their places.

    Args:
      history: ``[P, epochs]``, changed.
      record: ``[P, HISTORY]``, of which a member's first ``done - before`` are meant.
      before: ``[P]`` epochs that the members had done.
      done: ``[P]`` epochs that they have done.
    """
    for name, values in record.items():
        row, column = np.nonzero(np.arange(values.shape[1]) < (done - before)[:, None])
        history[name][row, before[row] + column] = values[row, column]


def widened(history: Records, epochs: int) -> Records:
    """``[P, epochs]``, NaN beyond what there is."""

    def widen(values: np.ndarray) -> np.ndarray:
        missing = epochs - values.shape[1]
        return np.pad(values, ((0, 0), (0, missing)), constant_values=np.nan)

    return {name: widen(values) for name, values in history.items()}


def until(history: Records, epochs: int) -> Records:
    """The first ``epochs`` of every member."""
    return {name: values[:, :epochs] for name, values in history.items()}
