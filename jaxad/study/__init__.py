"""Studies of losses and detectors: runs over sets and seeds, and what they allow to conclude.

`report` judges a table of runs; `jaxad.study.statistics` has the tests.
"""

from jaxad.study import runs as runs
from jaxad.study import statistics as statistics
from jaxad.study.report import Report as Report
from jaxad.study.report import report as report
