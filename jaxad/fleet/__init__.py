"""Fleets: one detector for every group of a long table, trained side by side."""
