"""Files of detectors and fleets."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxad import deployment, persistence
from jaxad.estimators import storage as detectors
from jaxad.fleet import storage as fleets
from jaxad.fleet.fleet import Fleet


def load(path: Any, losses: Mapping[str, Callable] | None = None, **modules: Any) -> Any:
    """Read a detector, or open a fleet, that ``save`` wrote; its scores are bit-identical.

    A fleet's file is opened, not read: a group's model is read, and checked, when it is first
    needed.

    Args:
      path: the file.
      losses: functions that the file names by their import path and that are not jaxad's, such as
        ``{"mymodule.my_loss": my_loss}``, or by the path's last part. Loading imports nothing; a
        function that `jaxad.register_loss` has registered is known already.
      **modules: the detector's arguments that are Flax modules (``network=``, ``decoder=``). Files
        contain no code, so these must be passed again.

    Raises:
      FileNotFoundError: the file does not exist.
      jaxad.FileFormatError: the file is truncated, damaged, from a newer version, or not jaxad's;
        or it names a function that is not known here.
      ValueError: a module is missing or not needed.

    Example:
      >>> import jaxad, numpy as np, os, tempfile
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0).fit(X)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = os.path.join(folder, "detector.safetensors")
      ...     detector.save(path)
      ...     loaded = jaxad.load(path)
      >>> bool((loaded.anomaly_score(X) == detector.anomaly_score(X)).all())
      True
    """
    kind = persistence.metadata_of(path).get("kind")
    if kind == deployment.KIND:
        raise persistence.FileFormatError(
            f"{path}: holds an exported program, not a detector: open it by jaxad.load_exported"
        )
    if kind == fleets.KIND:
        return fleets.load(Fleet, path, losses, **modules)
    return detectors.load(path, losses, **modules)
