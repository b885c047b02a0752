"""Callbacks: functions that a fit calls after each group of epochs.

A callback is a function ``callback(progress)`` of a `Progress`. If it returns True, and not merely
a value that counts as true, training ends, as if the last epoch had been the last one. It is called
about four times a second and at the end, which may also be Ctrl-C; with an attribute ``every`` (see
`Every`) after exactly so many epochs, which makes a rule that ends training reproducible. Where a
callback or Ctrl-C ends training, all callbacks are called once more, with ``progress.ended``.
Callbacks change no number of the training, and have 64-bit types where the program has them.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.training.monitor import Callback as Callback
from jaxad.training.monitor import Progress as Progress
from jaxad.training.monitor import check_every

logger = logging.getLogger("jaxad")


class Every:
    """Call another callback after every ``epochs`` epochs, and at the end.

    Args:
      epochs: the number of epochs.
      callback: the callback.

    Raises:
      ValueError: ``epochs`` is not a positive whole number.

    Example:
      >>> import jaxad, numpy as np
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> seen = []
      >>> note = jaxad.callbacks.Every(2, lambda progress: seen.append(progress.epoch))
      >>> detector = jaxad.DeepSVDD(epochs=5, n_members=1, random_state=0)
      >>> _ = detector.fit(x, callbacks=[note])
      >>> seen
      [2, 4, 5]
    """

    def __init__(self, epochs: int, callback: Callback):
        check_every("epochs", 0 if epochs is None else epochs)
        if not callable(callback):
            raise TypeError(f"callback={callback!r} is not a function: give one of a Progress")
        self.every, self._callback = int(epochs), callback

    def __call__(self, progress: Progress) -> Any:
        """Call the callback."""
        return self._callback(progress)


class TimeLimit:
    """End training, or pretraining, after so many seconds.

    Args:
      seconds: the time since the first epoch began, with its compilation. A group of epochs that
        has begun is finished.

    Raises:
      ValueError: ``seconds`` is not a positive number.

    Example:
      >>> import jaxad, numpy as np
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = jaxad.DeepSVDD(epochs=100_000, n_members=1, random_state=0)
      >>> _ = detector.fit(x, callbacks=[jaxad.callbacks.TimeLimit(0.5)])
      >>> len(detector.history_["loss"]) < 100_000
      True
    """

    def __init__(self, seconds: float):
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ValueError(f"seconds={seconds!r} is not a positive number: give one, such as 60")
        self._seconds = seconds

    def __call__(self, progress: Progress) -> bool:
        """Whether the time is over."""
        return progress.seconds >= self._seconds


class LogProgress:
    """Log the epoch, the latest losses and the time, by the logger ``"jaxad"`` at level INFO.

    Python shows such lines once they are asked for: ``logging.basicConfig(level="INFO")``.

    Args:
      seconds: the least time between two lines; the last epoch always has one.

    Raises:
      ValueError: ``seconds`` is negative.

    Example:
      >>> import jaxad, numpy as np
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = jaxad.DeepSVDD(epochs=5, n_members=1, random_state=0)
      >>> _ = detector.fit(x, callbacks=[jaxad.callbacks.LogProgress(seconds=1)])
    """

    def __init__(self, seconds: float = 5.0):
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise ValueError(f"seconds={seconds!r} is not a number of seconds, at least 0")
        self._seconds, self._logged = seconds, 0.0

    def __call__(self, progress: Progress) -> None:
        """Log a line, if one is due."""
        now = time.monotonic()
        if not progress.ended and now - self._logged < self._seconds:
            return
        self._logged = now
        names = [name for name in ("loss", "validation_loss") if name in progress.history]
        losses = ", ".join(f"{name} {progress.last(name):.5g}" for name in names)
        place = f"{progress.stage}: epoch {progress.epoch} of {progress.epochs}"
        logger.info("%s, %s, %.1f s", place, losses, progress.seconds)


class TensorBoard:
    """Write the history to a folder that TensorBoard shows: ``tensorboard --logdir FOLDER``.

    Each record is a curve over epochs, such as ``training/loss``; those of an ensemble are averaged
    over its members. It needs ``pip install 'jaxad[tensorboard]'``. Use a new instance for each
    fit.

    Args:
      folder: made if missing.

    Raises:
      ImportError: tensorboardX is missing.

    Example:
      >>> import jaxad, numpy as np, pathlib, tempfile
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = jaxad.DeepSVDD(epochs=3, n_members=1, random_state=0)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = detector.fit(x, callbacks=[jaxad.callbacks.TensorBoard(folder)])
      ...     len(list(pathlib.Path(folder).glob("events*")))
      1
    """

    def __init__(self, folder: str | os.PathLike[str]):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "jaxad.callbacks.TensorBoard needs tensorboardX: pip install 'jaxad[tensorboard]'"
            ) from error
        self._folder, self._open = Path(folder), SummaryWriter
        self._writer: Any = None
        self._written: dict[str, int] = {}  # epochs of each stage

    def __call__(self, progress: Progress) -> None:
        """Write the epochs since the last call."""
        self._writer = self._writer or self._open(str(self._folder))
        first = self._written.get(progress.stage, 0)
        for name, values in progress.history.items():
            curve = values if values.ndim == 1 else _mean(values)
            for epoch in range(first, progress.epoch):
                if not np.isnan(curve[epoch]):
                    self._writer.add_scalar(f"{progress.stage}/{name}", curve[epoch], epoch + 1)
        self._written[progress.stage] = progress.epoch
        self._writer.flush()
        if progress.ended and progress.stage == "training":
            self._writer.close()
            self._writer = None


def _mean(values: Any) -> Any:
    """The mean over members ``[epochs]``, of values ``[P, epochs]`` that may be NaN."""
    known = ~np.isnan(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
