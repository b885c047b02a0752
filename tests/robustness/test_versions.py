"""The versions that `python -m tests.versions` tested are those that pyproject.toml allows."""

import pytest
from packaging.version import Version

from tests import versions

ROWS = versions.read(versions.OUT)


def test_the_bounds_are_the_oldest_versions_that_were_tested():
    """A bound that was lowered, or that nothing can reach, needs another run."""
    oldest = min(
        (row for row in ROWS if row["resolution"] == "oldest"), key=lambda row: row["python"]
    )
    tested = {name: Version(oldest["versions"][name]) for name in versions.bounds()}
    assert tested == {name: Version(bound) for name, bound in versions.bounds().items()}


def test_the_oldest_and_newest_versions_passed():
    assert {versions.place(row)[1] for row in ROWS} == set(versions.RESOLUTIONS)
    assert [row for row in ROWS if row["failed"] or not row["passed"]] == []


def test_bounds_are_read_from_requirements_of_any_form():
    assert versions._bound("jax>=0.8") == ("jax", "0.8")
    assert versions._bound("dask[dataframe,distributed]>=2025.5.1,<3") == ("dask", "2025.5.1")
    with pytest.raises(ValueError, match="'ruff~=1' in pyproject.toml has no lower bound"):
        versions._bound("ruff~=1")
