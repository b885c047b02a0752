"""How fast: suites that take times, and what they share.

`methods` holds the cases, `operations` and `machine` say what a step needs and what the machine can
do, `worker` runs functions in processes of their own.
"""
