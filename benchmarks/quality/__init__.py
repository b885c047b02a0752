"""How accurate: suites that measure detection, and what they share."""
