"""How long one row takes: the detector, its exported programs, and the service.

Prints the median and the 99th percentile of each, in milliseconds, and asks a running service
(uvicorn, one process) over HTTP. Needs ``pip install 'jaxad[onnx,serve]' httpx``.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import onnxruntime

import jaxad

HERE = Path(__file__).parent


def milliseconds(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """The median and the 99th percentile of the times of ``calls`` calls, after a few others."""
    for _ in range(min(calls, 20)):
        call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times)), float(np.percentile(times, 99))


def served(model: Path, row: np.ndarray, calls: int) -> tuple[float, float]:
    """The times of requests to a service in another process, over one connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "service:app", *options],
        cwd=HERE,
        env=os.environ | {"JAXAD_MODEL": str(model)},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait(client, server)
            body = {"rows": row.tolist()}
            return milliseconds(lambda: client.post("/score", json=body).raise_for_status(), calls)
    finally:
        server.terminate()
        server.wait()


def _wait(client: httpx.Client, server: subprocess.Popen) -> None:
    for _ in range(1200):
        try:
            client.get("/docs")
            return
        except httpx.TransportError:
            if server.poll() is not None:
                raise SystemExit(f"the service ended with status {server.returncode}") from None
            time.sleep(0.1)
    raise SystemExit("the service did not start within two minutes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python docs/examples/latency.py", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5])
    calls = (arguments := parser.parse_args(argv)).calls
    x = np.random.default_rng(0).normal(size=(1000, arguments.features)).astype(np.float32)
    row = x[:1]
    print("One row, in milliseconds           median     p99")
    with tempfile.TemporaryDirectory() as folder:
        for members in arguments.members:
            detector = jaxad.DeepSVDD(
                epochs=arguments.epochs, n_members=members, random_state=0
            ).fit(x)
            model, onnx = Path(folder) / "detector.jaxad", Path(folder) / "detector.onnx"
            detector.export(model)
            detector.export(onnx, format="onnx")
            exported, session = jaxad.load_exported(model), onnxruntime.InferenceSession(onnx)
            ways = {
                "anomaly_score": lambda d=detector: d.anomaly_score(row),
                "StableHLO": lambda e=exported: e.run(row),
                "ONNX": lambda s=session: s.run(None, {"X": row}),
            }
            times = {name: milliseconds(call, calls) for name, call in ways.items()}
            times["service over HTTP"] = served(model, row, calls)
            for name, (median, high) in times.items():
                print(f"{members} member(s)  {name:<20} {median:8.3f} {high:7.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
