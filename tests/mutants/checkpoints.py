"""Mutants of checkpoints: fingerprints, resuming, what is kept, damaged files."""

from tests.mutants.mutant import of

_CHECKPOINT = ("tests/training/test_checkpoint.py",)
_KEPT = ("tests/training/test_kept.py",)

MUTANTS = [
    *of(
        "jaxad/training/checkpoint.py",
        _CHECKPOINT,
        (
            'run.pop("recipe.epochs", None)',
            'run.pop("recipe.epochs", None)\n    run.pop("recipe.learning_rate", None)',
            "another learning rate is taken for the same run",
        ),
        (
            'run["key"] = np.asarray(jax.random.key_data(key)).tolist()',
            'run["key"] = 0',
            "another seed is taken for the same run",
        ),
        (
            "return run | (_across_processes(digests) if joined else digests)",
            "return run",
            "other rows are taken for the same run",
        ),
        (
            "longer = done > epochs",
            "longer = done >= epochs",
            "a finished run cannot be resumed",
        ),
        (
            "if self._found is None:\n            self._snapshots.check_space",
            "if True:\n            self._snapshots.check_space",
            "a run begins anew beside its checkpoints",
        ),
        (
            'return resumed, dict(found.arrays["history"])',
            "return resumed, {}",
            "a resumed run has lost its history",
        ),
        (
            "if self._saved is None or not np.array_equal(epoch, self._saved):",
            "if self._saved is None:",
            "only the first checkpoint is written",
        ),
        (
            "epoch = np.array(on_host(state.epoch))",
            "epoch = np.asarray(on_host(state.epoch))",
            "the saved epoch is a view that the run overwrites",
        ),
        (
            "return [float(str(v)) for v in values.ravel()] if values.ndim else float(str(values))",
            "return [float(v) for v in values.ravel()] if values.ndim else float(str(values))",
            "numbers of members are told with digits that they do not have",
        ),
    ),
    *of(
        "jaxad/training/snapshots.py",
        _CHECKPOINT,
        (
            "self.clear((*self._damaged, *whole[self._keep :]))",
            "self.clear((*self._damaged, *whole[self._keep + 1 :]))",
            "one checkpoint too many is kept",
        ),
        (
            "return sorted((path for path in found if path.stem[7:].isdigit()), reverse=True)",
            "return sorted(path for path in found if path.stem[7:].isdigit())",
            "the oldest checkpoint counts as the newest",
        ),
        (
            "lacks = shutil.disk_usage(self.folder).free < size",
            "lacks = False",
            "a full disk is found out only in writing",
        ),
        (
            'for path in (*files, *self.folder.glob(".epochs-*.tmp")):',
            "for path in files:",
            "unfinished files of killed processes stay",
        ),
        (
            "except persistence.FileFormatError as error:\n                self._damaged.add(path)",
            "except persistence.FileFormatError as error:\n                raise",
            "a damaged checkpoint ends the run instead of being skipped",
        ),
    ),
    *of(
        "jaxad/training/kept.py",
        _KEPT,
        (
            "if hashlib.sha256(program).digest() == entry[:_DIGEST]:",
            "if True:",
            "a broken program is used",
        ),
        (
            "for _, size, path in sorted(found):",
            "for _, size, path in sorted(found, reverse=True):",
            "programs that were used last are deleted first",
        ),
        (
            "if facts.st_mode & 0o022:",
            "if facts.st_mode & 0o002:",
            "a folder that the group can write to is accepted",
        ),
        (
            "os.utime(path)  # the time of last use",
            "pass",
            "using a program does not keep it",
        ),
    ),
    *of(
        "jaxad/training/checkpoint.py",
        (
            "tests/training/test_checkpoint.py::test_a_state_of_other_shapes_is_refused",
            "tests/training/test_checkpoint.py",
        ),
        (
            'if found.metadata["layout"] != layout(leaves):',
            "if False:",
            "a state of other shapes is not refused",
        ),
    ),
    *of(
        "jaxad/training/checkpoint.py",
        (
            "tests/robustness/test_faults.py::"
            "test_a_clock_that_was_set_back_does_not_put_off_checkpoints",
        ),
        (
            "due = not 0 <= time.monotonic() - self._last < self._every",
            "due = time.monotonic() - self._last >= self._every",
            "after a clock that goes back no checkpoint is due for long",
        ),
    ),
]
