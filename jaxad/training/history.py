"""The record of every epoch of a run, as one history."""

from collections.abc import Sequence

import numpy as np

Records = dict[str, np.ndarray]
NAMES = ("loss", "learning_rate", "skipped")


class History:
    """What the epochs so far recorded: ``[epochs]``, or ``[P, epochs]`` for a population.

    Args:
      size: P, or None for one model.
      validated: whether there is a validation loss.
    """

    def __init__(self, size: int | None, *, validated: bool):
        names = (*NAMES, "validation_loss") if validated else NAMES
        self._alone = size is None
        self._records = {name: np.zeros((size or 1, 0), np.float32) for name in names}

    def resume(self, saved: Records) -> None:
        """Go on from what `so_far` returned earlier."""
        self._records = {name: np.atleast_2d(values) for name, values in saved.items()}

    def enter(self, record: Records, before: np.ndarray, done: np.ndarray) -> None:
        """Enter a group of epochs.

        Args:
          record: ``[..., epochs]`` for each name; a member's first ``done - before`` are its own.
          before: ``[P]`` epochs that the members had done.
          done: ``[P]`` epochs that they have done.
        """
        for name, history in self._records.items():
            values = np.reshape(record[name], (len(history), -1))
            missing = max(0, int(done.max()) - history.shape[1])
            history = np.pad(history, ((0, 0), (0, missing)), constant_values=np.nan)
            row, column = np.nonzero(np.arange(values.shape[1]) < (done - before)[:, None])
            history[row, before[row] + column] = values[row, column]
            self._records[name] = history

    def so_far(self) -> Records:
        """The history, NaN after a member's last epoch."""
        return {name: v[0] if self._alone else v for name, v in self._records.items()}

    def last_loss(self) -> float:
        """The mean over members of the latest loss that each has; NaN before the first epoch."""
        losses = [values[~np.isnan(values)][-1:] for values in self._records["loss"]]
        known = np.concatenate(losses)
        return float(known.mean()) if len(known) else float("nan")


def joined(parts: Sequence[Records]) -> Records:
    """Histories of runs that went on from one another, as one."""
    return {
        name: np.concatenate([part[name] for part in parts if name in part], axis=-1)
        for name in parts[-1]
    }
