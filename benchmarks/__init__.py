"""Benchmarks: ``python -m benchmarks.run [SUITE]``.

`run` is the command and `settings` what it is given. `quality` holds the suites that measure
detection, `speed` those that take times, `peers` the methods in other frameworks, `record` how
results are stored and shown, and ``results`` the newest of each suite.
"""

import os

# BLAS's own threads fight XLA's for the cores; the variable is read when numpy is first loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
