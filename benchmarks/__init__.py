"""Benchmarks: ``python -m benchmarks.run [SUITE]``."""

import os

# BLAS's own threads fight XLA's for the cores; the variable is read when numpy is first loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
