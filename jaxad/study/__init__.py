"""Studies of losses and detectors: runs over sets and seeds, and what they allow to conclude.

`compare` makes a table of runs, `report` judges it, and `jaxad.study.statistics` has the tests.
"""

from jaxad.study import runs as runs
from jaxad.study import statistics as statistics
from jaxad.study.compare import compare as compare
from jaxad.study.report import Report as Report
from jaxad.study.report import report as report
from jaxad.study.sets import Set as Set
from jaxad.study.sets import Task as Task
