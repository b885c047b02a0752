"""Fleets as files, and the waves of a fit as checkpoints."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sklearn.base import clone

from jaxad import persistence
from jaxad.estimators import storage as detectors
from jaxad.fleet.calibration import Calibration
from jaxad.fleet.models import Models
from jaxad.fleet.scaling import Prior
from jaxad.fleet.shared import Shared
from jaxad.fleet.survey import Survey, keys_of, waves
from jaxad.fleet.tables import Table, name_of
from jaxad.fleet.waves import Saver, Trained
from jaxad.persistence import FileFormatError, made_from
from jaxad.training.checkpoint import Checkpoints, differences
from jaxad.training.trees import described, digest

KIND = "Fleet"  # how a file says that it holds a fleet
_WAVE = "wave of a fleet"
_NO_MATTER = ("threads", "device", "verbose", "contamination")  # arguments that change no model
_SECONDS = "compile_seconds_", "fit_seconds_"  # not of a fleet that was merged


def save(fleet: Any, path: Any) -> None:
    """Write a fitted fleet to one file; see `jaxad.persistence.write`."""
    persistence.write(path, *_pack(fleet))


def _pack(fleet: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    common, models, calibration = fleet._common, fleet._whole_models(), fleet._calibration
    arrays, metadata = pack_shared(common)
    given = {k: v for k, v in fleet.get_params(deep=False).items() if k != "detector"}
    parameters = {k: detectors.plain(v) for k, v in given.items()}
    if parameters["random_state"] is detectors.NOT_WRITTEN:
        parameters["random_state"] = None
    metadata |= {
        "kind": KIND,
        "rate": fleet._rate,
        "seconds": {k: getattr(fleet, k) for k in _SECONDS if hasattr(fleet, k)},
        "parameters": parameters,
        "keys": fleet._keys,
        "notes": list(fleet._notes.items()),
        "recent": list(fleet._recent.items()),
        "own": [] if models is None else [fleet._places[key] for key in models.keys],
    }
    metadata["digest"] = digest(arrays)
    arrays["rows"] = fleet._rows
    if models is not None:
        arrays["models"] = jax.tree.map(np.asarray, models.arrays)
        found = dataclasses.asdict(calibration)
        found.pop("rate")
        arrays["calibration"] = found
        arrays["checksums"] = _of_rows(arrays["models"], calibration.by_group())
    return arrays, metadata


def load(kind: Any, path: Any, losses: Mapping[str, Callable] | None = None, **modules: Any) -> Any:
    """Open a fleet, of the class ``kind``, that ``save`` wrote; see `jaxad.load`."""
    arrays, metadata = persistence.memory_map(path)
    with made_from(path, KIND):
        small = {name: arrays[name] for name in ("global", "prior", "held_out")}
        small = jax.tree.map(np.array, small)
        if digest(small) != metadata["digest"]:
            raise FileFormatError(
                f"{path}: damaged, its global model does not match its checksum; copy it again or "
                "save the fleet again"
            )
    common = unpack_shared(path, small, metadata, losses or {}, modules)
    with made_from(path, KIND):
        return _made(kind, path, arrays, metadata, common)


def _made(
    kind: Any, path: Any, arrays: dict[str, Any], metadata: dict[str, Any], common: Shared
) -> Any:
    """A fleet, made from a file and from what its groups share."""
    fleet = kind(clone(common.detector), **metadata["parameters"])
    fleet._keys = keys_of(metadata["keys"])
    seconds = metadata["seconds"]
    vars(fleet).update({name: float(seconds[name]) for name in _SECONDS if name in seconds})
    fleet._rows, fleet._rate = np.array(arrays["rows"]), metadata["rate"]
    notes = {tuple(key): note for key, note in metadata["notes"]}
    recent = {tuple(key): tuple(counts) for key, counts in metadata["recent"]}
    models = calibration = None
    if metadata["own"]:
        calibration = Calibration(**arrays["calibration"], rate=metadata["rate"])
        keys = [fleet._keys[g] for g in metadata["own"]]
        models = Models(keys, arrays["models"], calibration.by_group())
    fleet._set(common, models, calibration, notes, recent)
    if models is not None:
        if arrays["checksums"].shape != (len(models.keys),):
            raise ValueError("there is not one checksum for each model")
        fleet._unchecked = Unchecked(path, arrays["checksums"], calibration)
    return fleet


class Unchecked:
    """The models of a file that are checked when they are first used.

    Args:
      path: the file.
      checksums: ``[M]``.
      calibration: whose scores belong to the models.
    """

    def __init__(self, path: Any, checksums: np.ndarray, calibration: Any):
        self._path, self._checksums, self._calibration = path, checksums, calibration
        self._checked = np.zeros(len(checksums), bool)

    def check(self, models: Models, numbers: Sequence[int]) -> None:
        """Check models.

        Raises:
          jaxad.FileFormatError: the bytes of one are not those that were saved.
        """
        new = np.unique([m for m in numbers if not self._checked[m]]).astype(np.int64)
        for some in np.array_split(new, max(1, len(new) // 256)):
            if not len(some):
                continue
            part = jax.tree.map(lambda leaf, some=some: np.asarray(leaf[some]), models.arrays)
            offsets = self._calibration.offsets
            scores = [self._calibration.scores[offsets[m] : offsets[m + 1]] for m in some]
            wrong = _of_rows(part, scores) != self._checksums[some]
            if wrong.any():
                key = models.keys[some[int(np.argmax(wrong))]]
                raise FileFormatError(
                    f"{self._path}: damaged, the model of group {name_of(key)} does not match its "
                    "checksum; copy it again or save the fleet again"
                )
            self._checked[some] = True


def _of_rows(arrays: dict[str, Any], scores: Sequence[np.ndarray]) -> np.ndarray:
    """A checksum of each model: of its arrays and its held-out scores."""
    rows = persistence.row_checksums(arrays).tolist()
    pairs = zip(scores, rows, strict=True)
    return np.array([zlib.crc32(s.tobytes(), row) for s, row in pairs], np.uint32)


def pack_shared(common: Shared) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the groups share, as nested arrays and metadata ready for JSON."""
    arrays, metadata = detectors.pack(common.detector)
    whole = {"global": arrays, "prior": common.prior._asdict(), "held_out": common.held_out}
    facts = {"global": metadata, "columns": list(common.columns), "seed": common.seed}
    return jax.tree.map(np.asarray, whole), facts


def unpack_shared(
    path: Any,
    arrays: dict[str, Any],
    metadata: dict[str, Any],
    losses: Mapping[str, Callable],
    modules: dict[str, Any],
) -> Shared:
    """The inverse of `pack_shared`."""
    with made_from(path, KIND):
        own = arrays["global"], metadata["global"]
        columns, prior = tuple(metadata["columns"]), Prior(**arrays["prior"])
    detector = detectors.unpack(path, *own, losses, modules)
    with made_from(path, KIND):
        return Shared(metadata["seed"], columns, prior, detector, arrays["held_out"])


def pack_trained(trained: Trained) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outcome of training, as nested arrays and metadata ready for JSON."""
    models, arrays = trained.models, {}
    if models is not None:
        counts = [len(scores) for scores in models.held_out]
        held_out = {"scores": np.concatenate(models.held_out), "counts": np.array(counts)}
        arrays = {"models": models.arrays, "held_out": held_out}
    keys = [] if models is None else models.keys
    return arrays, {"keys": keys, "failed": list(trained.failed.items())}


def unpack_trained(arrays: dict[str, Any], metadata: dict[str, Any]) -> Trained:
    """The inverse of `pack_trained`."""
    failed = {tuple(key): why for key, why in metadata["failed"]}
    if not metadata["keys"]:
        return Trained(None, failed)
    held_out = arrays["held_out"]
    ends = np.cumsum(held_out["counts"])[:-1]
    scores = np.split(held_out["scores"], ends)
    keys = keys_of(metadata["keys"])
    return Trained(Models(keys, arrays["models"], scores), failed)


def read_wave(path: Any) -> tuple[Trained, Any]:
    """The outcome of training that `wave_saver` saved, and the mark of its rows.

    Raises:
      FileNotFoundError, jaxad.FileFormatError: as `jaxad.persistence.read`.
    """
    arrays, metadata = persistence.read(path)
    with made_from(path, _WAVE):
        return unpack_trained(arrays, metadata), metadata["rows"]


def wave_saver(
    checkpoints: Any, fleet: Any, common: Shared, table: Table, found: Survey
) -> Saver | None:
    """A function that returns a saved wave, or trains and saves it; None without checkpoints.

    Raises:
      ValueError: the folder holds the waves of another fit.
    """
    settings = Checkpoints.of(checkpoints)
    if settings is None:
        return None
    folder = Path(settings.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {k: v for k, v in common.detector.get_params().items() if k not in _NO_MATTER}
    run = {
        **{f"detector.{k}": described(v) for k, v in arguments.items()},
        "seed": common.seed,
        "false_alarm_rate": fleet.false_alarm_rate,
        "min_rows": fleet.min_rows,
        "start": fleet.start,
        "columns": list(map(str, common.columns)),
        "label": str(fleet.label),
        "groups": zlib.crc32(repr((table.keys, list(waves(table)))).encode()),
        "rows": digest((found.rows, found.moments._asdict())),
        "global model": digest(pack_shared(common)[0]),
    }
    for path in sorted(folder.glob("wave-*.safetensors")):
        try:
            with made_from(path, _WAVE):
                earlier = dict(persistence.metadata_of(path)["run"])
        except FileFormatError:
            continue  # it is trained again
        if differing := differences(earlier, run):
            raise ValueError(
                f"{folder} holds checkpoints of another fit: {'; '.join(differing[:5])}. Give "
                "another folder, or delete this one to begin again"
            )

    def saved(number: int, mark: Callable[[], int], train: Callable[[], Trained]) -> Trained:
        path, rows = folder / f"wave-{number:06d}.safetensors", mark()
        if path.exists():
            try:
                trained, of_rows = read_wave(path)
            except FileFormatError:
                pass  # it is trained again
            else:
                if of_rows != rows:
                    raise ValueError(
                        f"{path} is of other rows or labels: give another folder, or delete this "
                        "one to begin again"
                    )
                return trained
        trained = train()
        arrays, metadata = pack_trained(trained)
        persistence.write(path, arrays, metadata | {"run": run, "rows": rows})
        return trained

    return saved
