"""Data larger than memory: rows per second, and a peak of memory that does not grow with rows."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import schema
from benchmarks.options import OptionError, Options
from benchmarks.streamed_fit import DETECTORS
from benchmarks.table import Column, cells, first, text

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


def run(options: Options) -> None:
    """Fit and score a file and a smaller one, each in a process of its own; write ``rows.json``."""
    begun, settings = schema.begin(), options.settings
    rows = []
    with tempfile.TemporaryDirectory(prefix="jaxad-") as folder:
        for count in (max(2, settings["rows"] // FEWER), settings["rows"]):
            path = Path(folder) / "rows.npy"
            make(path, count, settings["features"])
            for detector in settings["detectors"]:
                rows.append(_measure(path, count, detector, settings))
            path.unlink()
    schema.write(
        options.out / "rows.json",
        schema.record(
            options.suite,
            rows,
            seeds=[0],
            config=dict(settings),
            threads=options.threads,
            begun=begun,
        ),
    )
    shown = f"{_NOTE}\n\n{text(*cells(rows, COLUMNS))}\n\n{_growth(rows)}\n"
    (options.out / "table.txt").write_text(shown)
    print(f"\n{shown}")


def make(path: Path, rows: int, features: int) -> None:
    """Write a float32 ``.npy`` of rows near a plane, a piece at a time.

    Raises:
      OptionError: the disk has no room for it.
    """
    needed, free = 4 * rows * features, shutil.disk_usage(path.parent).free
    if needed > 0.9 * free:
        raise OptionError(
            f"{rows:,} rows of {features} features need {needed / 1e9:.1f} GB in {path.parent}, "
            f"{free / 1e9:.1f} GB are free: set rows lower, or TMPDIR to a larger disk"
        )
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(5, features)).astype(np.float32)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, features))
    for start in tqdm(range(0, rows, MAKE_ROWS), desc="write rows", unit="piece"):
        count = min(MAKE_ROWS, rows - start)
        latent = rng.standard_normal((count, 5), np.float32)
        noise = rng.standard_normal((count, features), np.float32)
        array[start : start + count] = latent @ plane + 0.1 * noise
    array.flush()


def _measure(path: Path, count: int, detector: str, settings: Mapping[str, Any]) -> schema.Row:
    print(f"{detector}, {count:,} rows ...", flush=True)
    given = {"path": str(path), "detector": detector}
    given |= {key: settings[key] for key in ("chunk_rows", "epochs")}
    command = [sys.executable, "-m", "benchmarks.streamed_fit", json.dumps(given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    found |= {"file_mb": path.stat().st_size / 1e6}
    metrics = {key: [value] for key, value in found.items()}
    return schema.Row(f"{count:,} rows", detector, metrics, {"rows": count})


def _growth(rows: list[schema.Row]) -> str:
    """What ten times the rows add to the peak, for each detector."""
    lines = []
    half = len(rows) // 2
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


COLUMNS = (
    Column("file MB", "file_mb", first(0)),
    Column("fit rows/s", "fit_rows_per_second", first(0)),
    Column("score rows/s", "score_rows_per_second", first(0)),
    Column("start MB", "start_mb", first(0)),
    Column("fit peak MB", "fit_peak_mb", first(0)),
    Column("score peak MB", "score_peak_mb", first(0)),
    Column("largest RSS MB", "max_rss_mb", first(0)),
)
_NOTE = (
    "Peaks are of memory that the process owns (RssAnon, read every 10 ms), which leaves out the\n"
    "pages of the mapped file; the largest RSS has them in. The start is after the imports. Rows\n"
    "per second of fit are those of all epochs over the time of the whole call: scaler, exact\n"
    "passes, training, scores for the threshold, compilation."
)
