"""The history of a run: one record per epoch."""

import numpy as np

Records = dict[str, np.ndarray]
NAMES = ("loss", "learning_rate", "skipped")


class History:
    """The records of all epochs so far: ``[epochs]``, or ``[P, epochs]`` for a population.

    Further names, those of diagnostics, come with the first record that has them.

    Args:
      size: P, or None for one model.
      validated: whether there is a validation loss.
    """

    def __init__(self, size: int | None, *, validated: bool):
        names = (*NAMES, "validation_loss") if validated else NAMES
        self._single, self._size = size is None, size or 1
        self._records = {name: self._empty() for name in names}

    def resume(self, saved: Records) -> None:
        """Continue a history that `so_far` returned."""
        self._records = {name: np.atleast_2d(values) for name, values in saved.items()}

    def enter(self, record: Records, before: np.ndarray, done: np.ndarray) -> None:
        """Append a group of epochs.

        Args:
          record: ``[..., epochs]`` for each name; the first ``done - before`` entries of a member
            are valid.
          before: ``[P]`` epochs of each member before the group.
          done: ``[P]`` epochs of each member after it.
        """
        for name, given in record.items():
            values = np.reshape(given, (self._size, -1))
            history = self._records.get(name, self._empty())
            missing = max(0, int(done.max()) - history.shape[1])
            history = np.pad(history, ((0, 0), (0, missing)), constant_values=np.nan)
            row, column = np.nonzero(np.arange(values.shape[1]) < (done - before)[:, None])
            history[row, before[row] + column] = values[row, column]
            self._records[name] = history

    def so_far(self) -> Records:
        """The history, NaN after a member's last epoch."""
        return {name: v[0] if self._single else v for name, v in self._records.items()}

    def _empty(self) -> np.ndarray:
        return np.zeros((self._size, 0), np.float32)


def joined(before: Records, after: Records) -> Records:
    """Two histories as one, ``[..., epochs]``, NaN where one of them lacks a name.

    Example:
      >>> both = joined({"loss": np.ones(2)}, {"loss": np.zeros(1), "radius": np.ones(1)})
      >>> both["loss"].tolist(), both["radius"].tolist()
      ([1.0, 1.0, 0.0], [nan, nan, 1.0])
    """
    if not before:
        return after

    def of(records: Records, name: str) -> np.ndarray:
        lacking = np.full_like(records["loss"], np.nan)
        return records.get(name, lacking)

    return {
        name: np.concatenate([of(before, name), of(after, name)], axis=-1)
        for name in before | after
    }


def last(values: np.ndarray) -> np.ndarray:
    """The values of the last epoch, ``[...]``, of a history ``[..., epochs]``; NaN without epochs.

    Example:
      >>> last(np.array([[3.0, 2.0, np.nan], [np.nan, np.nan, np.nan]])).tolist()
      [2.0, nan]
    """
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan, values.dtype)
    known = ~np.isnan(values)
    place = np.where(known.any(axis=-1), values.shape[-1] - 1 - known[..., ::-1].argmax(axis=-1), 0)
    return np.take_along_axis(values, place[..., None], axis=-1)[..., 0]
