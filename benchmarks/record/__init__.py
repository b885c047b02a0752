"""How results are timed, kept, shown and compared."""
