"""Worked examples, one file each: ``python -m benchmarks.examples.NAME --help``."""
