"""The same methods in other frameworks, to measure speed against."""
