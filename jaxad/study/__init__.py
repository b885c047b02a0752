"""Studies of losses and detectors: `jaxad.study.statistics` has the tests."""

from jaxad.study import statistics as statistics
