"""The same methods in other frameworks, to measure speed against.

`pytorch` holds loops written by hand; `libraries` drives PyOD and DeepOD through their public API,
in an environment of their own, which `environment` makes.
"""
