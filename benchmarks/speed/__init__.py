"""How fast: suites that take times, and what they share."""
