"""The suites `benchmarks.run` can run: ``DESCRIPTION``, ``DEFAULTS``, ``CHOICES``, ``run``."""
