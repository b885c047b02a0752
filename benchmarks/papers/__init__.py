"""The papers' tables: what was published, by what protocol, and how it is measured again.

`configs` reads the tables of the folder ``configs``, `protocols` makes experiments of data sets,
`fitting` fits and scores and never sees what test rows are, `verdicts` compares with what was
published, `report` shows it.
"""
