"""Mutants of files: what is saved, checked, and restored."""

from tests.mutants.mutant import of

_FILES = ("tests/test_persistence.py",)
_STORAGE = ("tests/test_survivors.py", "tests/test_persistence.py", "tests/test_defects.py")

MUTANTS = [
    *of(
        "jaxad/estimators/storage.py",
        ("tests/test_survivors.py::test_the_best_epoch_is_saved", *_STORAGE),
        (
            '"best_epoch_",\n',
            "",
            "the best epoch is lost in a file",
        ),
    ),
    *of(
        "jaxad/persistence.py",
        _FILES,
        (
            "os.replace(temporary, path)",
            "path.write_bytes(temporary.read_bytes())",
            "a file is not written at once",
        ),
        (
            "temporary.unlink(missing_ok=True)",
            "pass",
            "a failed write leaves its temporary file",
        ),
        (
            "newer = version > VERSION",
            "newer = version > VERSION + 1",
            "a file of a newer format is read",
        ),
        (
            'if whole and _digest(entries[FORMAT], tensors) != entries["sha256"]:',
            "if False:",
            "damaged arrays are not noticed",
        ),
        (
            "if hashlib.sha256(unsigned).hexdigest() != digest:",
            "if False:",
            "a damaged header is not noticed",
        ),
        (
            'if entries.keys() == {FORMAT, "sha256"}:\n        whole = True',
            'if entries.keys() == {FORMAT, "sha256"}:\n        pass',
            "files without a digest of the header are opened unchecked",
        ),
        (
            "if missing < 0 or not apart:",
            "if not apart:",
            "bytes after the end are accepted",
        ),
        (
            "digest.update(json.dumps([name, leaf.dtype.name, leaf.shape]).encode())",
            "digest.update(name.encode())",
            "types and shapes are not in the digest",
        ),
        (
            "os.fsync(file.fileno())",
            "pass",
            "a file is renamed before it is on disk",
        ),
        (
            "checksums[row] = zlib.crc32(data[row * size : (row + 1) * size], checksum)",
            "checksums[row] = zlib.crc32(data[row * size : (row + 1) * size])",
            "the checksum of a row is that of its last array",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        (
            "tests/test_survivors.py::test_all_facts_of_a_fit_are_saved",
            "tests/test_survivors.py",
        ),
        (
            '"n_skipped_",\n',
            "",
            "the number of skipped steps is lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        (
            "tests/test_survivors.py::test_all_facts_of_a_fit_are_saved",
            "tests/test_survivors.py",
        ),
        (
            '"threshold_",\n',
            "",
            "the threshold is lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_decisions.py",),
        (
            'arrays["reference_scores"] = detector.reference_scores_',
            "pass",
            "the scores for later thresholds are lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_decisions.py",),
        (
            'arrays["held_out_scores"] = detector.held_out_scores_',
            "pass",
            "the scores of held-out rows are lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_explanations.py",),
        (
            'arrays["background"] = detector.background_',
            "pass",
            "the background rows are lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_ensemble.py",),
        (
            '"combination": detector.combination_,',
            "",
            "the combination of an ensemble is lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/test_mended.py",),
        (
            "if name not in _FACTS or not _is_fact(value):",
            "if False:",
            "a file can set any attribute",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/test_registry.py",),
        (
            "if DETECTORS.get(name_of(kind)) is not kind:",
            "if False:",
            "a detector is saved that cannot be loaded",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_estimators.py",),
        (
            'detector.feature_names_in_ = np.asarray(metadata["feature_names"], dtype=object)',
            "pass",
            "the names of the features are lost in a file",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_estimators.py",),
        (
            "if trained_for not in (None, now):",
            "if False:",
            "a file of another objective is loaded",
        ),
    ),
    *of(
        "jaxad/estimators/storage.py",
        ("tests/estimators/test_estimators.py",),
        (
            "return tuple(_restored(v, losses) for v in value)",
            "return [_restored(v, losses) for v in value]",
            "tuples come back as lists",
        ),
    ),
]
