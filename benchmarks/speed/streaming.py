"""Data larger than memory: rows per second, and a peak of memory that does not grow with rows."""

import contextlib
import resource
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.quality.detectors import DETECTORS
from benchmarks.record.rows import Row, part_name
from benchmarks.record.store import Part
from benchmarks.record.tables import Column, first
from benchmarks.record.timing import timed
from benchmarks.settings import OptionError
from benchmarks.speed.worker import Worker
from jaxad import data

DESCRIPTION = "fit and score a file larger than memory: rows per second and peak memory"
DEFAULTS: dict[str, Any] = {
    "rows": 20_000_000,
    "features": 30,
    "chunk_rows": 65_536,
    "epochs": 1,
    "detectors": ("deep_svdd",),
}
CHOICES = {"detectors": tuple(DETECTORS)}
FEWER = 10  # times fewer rows in the file that shows what does not grow
MAKE_ROWS = 1_000_000
COLUMNS = tuple(
    Column(title, metric, first(0))
    for title, metric in {
        "file MB": "file_mb",
        "fit rows/s": "fit_rows_per_second",
        "score rows/s": "score_rows_per_second",
        "start MB": "start_mb",
        "fit peak MB": "fit_peak_mb",
        "score peak MB": "score_peak_mb",
        "largest RSS MB": "max_rss_mb",
    }.items()
)
NOTE = (
    "Peaks are of memory that the process owns (RssAnon, read every 10 ms), which leaves out the\n"
    "pages of the mapped file; the largest RSS has them in. The start is after the imports. Rows\n"
    "per second of fit are those of all epochs over the time of the whole call: scaler, exact\n"
    "passes, training, scores for the threshold, compilation."
)


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A file and a smaller one, each fitted and scored in a process of its own."""
    counts = max(2, settings["rows"] // FEWER), settings["rows"]
    return {
        part_name(f"{count:,} rows", detector): partial(_measure, count, detector, settings)
        for count in counts
        for detector in settings["detectors"]
    }


def remarks(rows: Sequence[Row]) -> str:
    """What ten times the rows add to the peak of each detector."""
    lines, half = [], len(rows) // 2
    for few, many in zip(rows[:half], rows[half:], strict=True):
        more = many.details["rows"] - few.details["rows"]
        added = {k: v[0] - few.metrics[k][0] for k, v in many.metrics.items()}
        peaks = (
            f"{added[f'{what}_peak_mb']:,.0f} MB to the peak of {what} "
            f"({1e6 * added[f'{what}_peak_mb'] / more:.1f} bytes a row)"
            for what in ("fit", "score")
        )
        lines.append(
            f"{many.detector}: {more:,} more rows, {added['file_mb']:,.0f} MB of file, add "
            f"{' and '.join(peaks)}"
        )
    return "\n".join(lines)


def make(path: Path, rows: int, features: int) -> None:
    """Write a float32 ``.npy`` of rows near a plane, a piece at a time; it must fit the disk."""
    needed, free = 4 * rows * features, shutil.disk_usage(path.parent).free
    if needed > 0.9 * free:
        raise OptionError(
            f"{rows:,} rows of {features} features need {needed / 1e9:.1f} GB in {path.parent}, "
            f"{free / 1e9:.1f} GB are free: set rows lower, or TMPDIR to a larger disk"
        )
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(5, features)).astype(np.float32)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, features))
    for start in tqdm(range(0, rows, MAKE_ROWS), desc="write rows", unit="piece", leave=False):
        count = min(MAKE_ROWS, rows - start)
        latent = rng.standard_normal((count, 5), np.float32)
        noise = rng.standard_normal((count, features), np.float32)
        array[start : start + count] = latent @ plane + 0.1 * noise
    array.flush()


def _measure(count: int, detector: str, settings: Mapping[str, Any]) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="jaxad-") as folder:
        path = Path(folder) / "rows.npy"
        make(path, count, settings["features"])
        how = {key: settings[key] for key in ("chunk_rows", "epochs")}
        with Worker("benchmarks.speed.streaming") as worker:
            found = worker.call("fit_and_score", path=str(path), detector=detector, **how).result
        found["file_mb"] = path.stat().st_size / 1e6
    metrics = {key: [value] for key, value in found.items()}
    return [Row(f"{count:,} rows", detector, metrics, {"rows": count})]


@contextlib.contextmanager
def watched() -> Iterator[list[float]]:
    """A list that holds the most anonymous memory of this process during the block, in MB.

    Pages of mapped files are left out: the system takes them back when memory is short. Linux.
    """
    peak, stop = [anonymous_megabytes()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], anonymous_megabytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def anonymous_megabytes() -> float:
    """Memory of this process that belongs to no file, in MB."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["RssAnon"].split()[0]) * 1024 / 1e6


def fit_and_score(path: str, detector: str, chunk_rows: int, epochs: int) -> dict[str, Any]:
    """Fit a detector to a ``.npy`` file and score the file: rows per second, peaks of memory."""
    source = data.stream(path, rows=chunk_rows)
    count, start = len(np.load(path, mmap_mode="r")), anonymous_megabytes()
    model = DETECTORS[detector](epochs=epochs, random_state=0)
    found: dict[str, Any] = {"start_mb": start}
    for what, call, passes in (("fit", model.fit, epochs), ("score", model.anomaly_score, 1)):
        with watched() as peak:
            taken, _ = timed(what, {what: partial(call, source)}, 0, pause=0)
        seconds = taken[what].median
        found[f"{what}_seconds"], found[f"{what}_peak_mb"] = seconds, peak[0]
        found[f"{what}_rows_per_second"] = count * passes / seconds
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return found | {"steps_skipped": model.n_skipped_, "max_rss_mb": largest}
