"""Benchmarks: ``python -m benchmarks.run [SUITE]``.

`run` is the command, `suites` holds what it can run, `datasets` and `controls` what detectors are
measured on and against, `papers` the papers' tables of the folder ``configs``, `published` another
benchmark's figures, `peers` the same methods written in another framework, `timing` how time is
taken, `paired` and `ranks` how detectors are compared, and `schema`, `kept` and `table` how results
are kept and shown.
"""

import os

# BLAS's own threads fight XLA's for the cores; the variable is read when numpy is first loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
