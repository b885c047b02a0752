"""One fit and one scoring of a file of rows, with the most memory each had.

``python -m benchmarks.streamed_fit JSON`` prints one JSON object; the streaming suite runs it in
processes of its own, since a peak belongs to a process.
"""

import json
import resource
import sys
import threading
import time
from typing import Any

import jaxad
from jaxad import data

DETECTORS = {
    "deep_svdd": jaxad.DeepSVDD,
    "deep_sad": jaxad.DeepSAD,
    "autoencoder": jaxad.AutoEncoder,
    "dagmm": jaxad.DAGMM,
    "goad": jaxad.GOAD,
}


class Peak:
    """Within a ``with`` block, the most anonymous memory of this process, in MB.

    That of mapped files is left out: the system takes it back when it is short of memory. Linux.
    """

    def __enter__(self) -> "Peak":
        """Start."""
        self.megabytes = anonymous_megabytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.megabytes = max(self.megabytes, anonymous_megabytes())


def anonymous_megabytes() -> float:
    """Memory of this process that is of no file, in MB."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["RssAnon"].split()[0]) * 1024 / 1e6


def measure(path: str, detector: str, chunk_rows: int, epochs: int) -> dict[str, Any]:
    """Fit a detector to a ``.npy`` file and score the file.

    Returns:
      Rows per second and peaks of memory.
    """
    source = data.stream(path, rows=chunk_rows)
    start = anonymous_megabytes()
    began = time.perf_counter()
    with Peak() as fit_peak:
        model = DETECTORS[detector](epochs=epochs, random_state=0).fit(source)
    fit_seconds = time.perf_counter() - began
    began = time.perf_counter()
    with Peak() as score_peak:
        count = len(model.anomaly_score(source))
    score_seconds = time.perf_counter() - began
    return {
        "fit_rows_per_second": count * epochs / fit_seconds,
        "score_rows_per_second": count / score_seconds,
        "fit_seconds": fit_seconds,
        "score_seconds": score_seconds,
        "steps_skipped": model.n_skipped_,
        "start_mb": start,
        "fit_peak_mb": fit_peak.megabytes,
        "score_peak_mb": score_peak.megabytes,
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
