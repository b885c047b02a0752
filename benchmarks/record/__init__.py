"""How results are timed, kept, shown and compared.

`rows` reads and writes result files, `store` fills one while a suite runs, `timing` takes times,
`targets` holds them against goals, `tables` and `plots` show rows, `report` and `compare` read
stored results, and `environment` says what a result depends on.
"""
