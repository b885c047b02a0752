"""What a run tells while it trains: a progress bar, and the user's callbacks."""

import dataclasses
import math
import numbers
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from jaxad.precision import as_called
from jaxad.training.history import Records, last

Callback = Callable[["Progress"], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Progress:
    """How far a run has come; what a callback is given. Valid until the callback returns.

    Attributes:
      stage: ``"training"``, or ``"pretraining"`` while an autoencoder initialises the encoder.
      epoch: epochs done. In a population, by the member that has done most.
      epochs: the most epochs that the run may do.
      history: the records of all epochs so far, as in `Result`: ``loss``, ``learning_rate``,
        ``skipped``, with validation rows ``validation_loss``, and the diagnostics; ``[epoch]``, or
        ``[P, epoch]`` for a population, NaN after a member's last epoch.
      seconds: since the run began or was resumed.
      ended: whether no epoch follows. Each callback is told so once; where one of them or Ctrl-C
        ends the run, in a further call.
    """

    stage: str
    epoch: int
    epochs: int
    history: Records
    seconds: float
    ended: bool
    _result: Callable[[], Any] = dataclasses.field(repr=False)
    _detector: Callable[[Any], Any] | None = dataclasses.field(default=None, repr=False)

    def last(self, name: str = "loss") -> float:
        """The latest value of a record, averaged over the members that have one.

        Raises:
          KeyError: the history has no such record.
        """
        values = np.ravel(last(self.history[name]))
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else math.nan

    def result(self) -> Any:
        """The `jaxad.training.Result` if the run ended here; it takes a pass over the rows."""
        return self._result()

    def detector(self) -> Any:
        """A fitted copy of the detector as if its training ended here. It scores all rows.

        Raises:
          RuntimeError: no detector is in training, but its autoencoder, or an objective.
        """
        if self._detector is None:
            raise RuntimeError(
                f"there is no detector in the stage {self.stage!r} of this run: use result()"
            )
        return self._detector(self.result())


def check_callbacks(callbacks: Any) -> None:
    """Raise an error unless ``callbacks`` is a list or tuple of functions.

    Example:
      >>> check_callbacks([print])
      >>> check_callbacks(print)
      Traceback (most recent call last):
      TypeError: callbacks=<built-in function print> is not a list of functions: give [callback]
    """
    if not isinstance(callbacks, list | tuple):
        raise TypeError(f"callbacks={callbacks!r} is not a list of functions: give [callback]")
    for i, callback in enumerate(callbacks):
        if not callable(callback) or isinstance(callback, type):
            raise TypeError(
                f"callbacks[{i}]={callback!r} is not a function of a jaxad.callbacks.Progress: "
                "give one, or an instance of a class that has __call__"
            )
        check_every(f"callbacks[{i}].every", getattr(callback, "every", None))


def check_every(name: str, every: Any) -> None:
    """Raise an error unless ``every`` is None or a positive whole number."""
    whole = isinstance(every, numbers.Integral) and not isinstance(every, bool)
    if every is not None and (not whole or every < 1):
        raise ValueError(f"{name}={every!r} is not a positive whole number of epochs, or None")


class Monitor:
    """Shows the progress of one run, and calls its callbacks.

    Args:
      bar: whether to show a progress bar.
      callbacks: functions of a `Progress`. One that returns True ends the run. With the attribute
        ``every`` a function is called after so many epochs, else about four times a second; all of
        them also once at the end, whatever ends the run.

    Raises:
      TypeError: ``callbacks`` is not a list or tuple of functions.
      ValueError: an ``every`` is not a positive whole number.
    """

    def __init__(self, bar: bool = False, callbacks: Sequence[Callback] = ()):
        check_callbacks(callbacks)
        self._shows, self._callbacks = bar, callbacks
        self._periods = [getattr(callback, "every", None) for callback in callbacks]

    @property
    def watches(self) -> bool:
        """Whether anybody is told."""
        return self._shows or bool(self._callbacks)

    def start(self, epoch: int, epochs: int) -> None:
        """Begin, or resume after ``epoch`` of ``epochs`` epochs."""
        self._began, self._epochs = time.perf_counter(), epochs
        self._untold = list(self._callbacks)  # of the end
        options: dict[str, Any] = {"total": epochs, "initial": epoch, "unit": "epoch"}
        # Bars below another one are removed at their end, a single one stays.
        self._bar = tqdm(**options, leave=None) if self._shows else None

    def at_most(self, epoch: int, group: int) -> int:
        """The size of the next group of epochs, so that no callback is missed."""
        return min([group, *(every - epoch % every for every in self._periods if every)])

    def rows(self, count: int) -> None:
        """Show how many rows of a stream this epoch has trained on."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"rows={count:,}", refresh=False)
            self._bar.update(0)

    def tell(self, epoch: int, history: Records, ended: bool, result: Callable[[], Any]) -> bool:
        """Tell that a group of epochs has ended, and whether the run has. Return whether it ends.

        Of the end each callback is told once, also if this is called again.
        """
        seconds = max(0.0, time.perf_counter() - self._began)
        now = Progress("training", epoch, self._epochs, history, seconds, ended, result)
        if self._bar is not None:
            self._bar.update(epoch - self._bar.n)
            self._bar.set_postfix(loss=f"{now.last():.4g}")
        due = [not every or epoch % every == 0 for every in self._periods]
        told = zip(self._callbacks, due, strict=True)
        with as_called():
            if ended:
                while self._untold:
                    self._untold.pop(0)(now)
                return True
            answers = [callback(now) for callback, is_due in told if is_due]  # calls them all
        # Other values, such as what write() returns, are no answer.
        return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)

    def close(self) -> None:
        """End the progress bar."""
        if self._bar is not None:
            self._bar.close()
