"""The papers' tables: their rows, protocols, measures and the command."""

import ast
import dataclasses
import inspect

import numpy as np
import pytest
from sklearn.metrics import f1_score

import jaxad
from benchmarks import run
from benchmarks.quality import adbench, paper_fitting, paper_rows, papers
from benchmarks.record import rows as results
from jaxad import data

TABLES = {name: paper_rows.read(name) for name in paper_rows.TABLES}
ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]


def made(name):
    """A small set of noise with the card of a named one."""
    card = data.CARDS[name]
    rng = np.random.default_rng(0)
    if len(card.shape) > 1:
        x = rng.integers(0, 256, (320, *card.shape)).astype(np.uint8)
        return data.Dataset(x, card, None, np.arange(320) % 10, np.arange(320) < 240)
    return data.Dataset(rng.normal(size=(240, *card.shape)), card, np.arange(240) % 5 == 0)


@pytest.mark.parametrize("name", paper_rows.TABLES)
def test_a_table_says_how_to_repeat_it_and_what_to_expect(name):
    table = TABLES[name]
    assert table.command == f"python -m benchmarks.run papers --tables {name}"
    names = [row.name for row in table.rows]
    assert len(names) == len(set(names))
    assert not any("," in row for row in names)  # --rows takes a list
    expected = [row.published for row in table.rows] + [g.published for g in table.groups.values()]
    assert any(expected)
    assert set(table.groups) <= {row.group for row in table.rows}
    assert len({row.metric for row in table.rows}) == 1


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda v: v if isinstance(v, str) else v.name)
def test_every_row_is_built_and_split(table, row):
    model = paper_fitting.build(row, row.effort, 3)
    assert model.random_state == 3
    assert getattr(model, "n_members", 1) == 1
    assert paper_fitting.build(row, 0, 3).epochs == 0
    dataset = made(row.dataset)
    first, second = papers.experiments(dataclasses.replace(row, seeds=2), dataset, 10**6)
    assert not set(first.case.train) & set(first.case.test)
    assert 0 < first.is_anomaly.sum() < len(first.is_anomaly) == len(first.case.test)
    drawn = row.protocol != "one_class_images"
    assert (first.case.train.tolist() != second.case.train.tolist()) == drawn
    assert (first.flagged > 0) == (row.metric == "f1")


NETWORK = ("network", "hidden", "latent_dim", "objective", "n_transforms", "transform_dim")


def structure(row):
    """What makes a program of its own, apart from the rows' width; the rest is numbers."""
    return row.detector, row.preset, *(row.arguments.get(name) for name in NETWORK)


# The first row of each structure: the others are trained by the same programs.
STRUCTURES = list({structure(row): row for _, row in reversed(ROWS)}.values())


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::jaxad.CollapseWarning")  # GOAD's linear trunk, as the paper's
@pytest.mark.parametrize("row", STRUCTURES, ids=lambda row: f"{row.detector} {row.name}")
def test_a_row_of_every_structure_is_trained_for_an_epoch(row):
    """By its config, with batches of a few rows."""
    small = {"batch_size": 64 if row.metric == "f1" else 8, "milestones": ()}
    row = dataclasses.replace(row, seeds=1, arguments={**row.arguments, **small})
    dataset = made(row.dataset)
    (experiment,) = papers.experiments(row, dataset, 10**6)
    train, label, _, prepare = experiment.case
    model = paper_fitting.build(row, 1, 0)
    once = {key: 1 for key in ("epochs", "pretrain_epochs") if model.get_params().get(key)}
    model.set_params(**once).fit(prepare(dataset.x[train]), label)
    assert model.n_steps_ > 0
    assert np.isfinite(model.history_["loss"]).all()


def test_effort_shortens_every_schedule():
    row = TABLES["deep_svdd_mnist"].rows[0]
    model = paper_fitting.build(row, 20, 0)
    assert (model.pretrain_epochs, model.epochs, model.milestones) == (30, 30, (10,))
    assert paper_fitting.build(row, 100, 0).epochs == 150
    untrained = paper_fitting.build(row, 0, 0)
    assert (untrained.pretrain_epochs, untrained.epochs) == (0, 0)


# What is measured


def test_oracle_f1_is_that_of_a_threshold(rng):
    score, is_anomaly = rng.normal(size=200), rng.random(200) < 0.2
    flagged = score > np.sort(score)[-31]
    found = papers.oracle_f1(score, is_anomaly, 30, seed=0)
    np.testing.assert_allclose(found, f1_score(is_anomaly, flagged))


def test_constant_scores_earn_no_more_than_chance():
    """Whatever the order of the rows: ties are not broken in the anomalies' favour."""
    is_anomaly = np.arange(200) < 40
    f1 = [
        papers.oracle_f1(np.ones(200), marks, 40, seed)
        for marks in (is_anomaly, is_anomaly[::-1])
        for seed in range(100)
    ]
    assert abs(np.mean(f1) - 0.2) < 0.02


def experiments(table, name, seeds=1):
    (row,) = (row for row in TABLES[table].rows if row.name == name)
    dataset = made(row.dataset)
    return dataset, papers.experiments(dataclasses.replace(row, seeds=seeds), dataset, 10**6)


def test_flagged_rows_follow_the_papers():
    _, (dagmm,) = experiments("dagmm", "KDD")
    assert dagmm.flagged == round(0.2 * len(dagmm.case.test))
    _, (goad,) = experiments("goad", "KDD")
    assert goad.flagged == goad.is_anomaly.sum()


def test_goad_standardises_continuous_columns_by_the_training_rows():
    dataset, _ = experiments("goad", "KDD")
    dataset.x[:, 5] = np.arange(len(dataset.x)) % 2
    (row,) = (row for row in TABLES["goad"].rows if row.name == "KDD")
    (experiment,) = papers.experiments(dataclasses.replace(row, seeds=1), dataset, 10**6)
    train = experiment.case.prepare(dataset.x[experiment.case.train])
    np.testing.assert_allclose(np.delete(train, 5, 1).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.delete(train, 5, 1).std(axis=0), 1)
    assert set(train[:, 5]) == {0.0, 1.0}


def test_dagmm_scales_the_public_file_by_the_training_rows():
    dataset, (experiment,) = experiments("dagmm", "KDD public")
    train, test = (dataset.x[rows] for rows in (experiment.case.train, experiment.case.test))
    np.testing.assert_allclose(experiment.case.prepare(train).min(axis=0), 0)
    np.testing.assert_allclose(experiment.case.prepare(train).max(axis=0), 1)
    assert experiment.case.prepare(test).max() > 1


def test_deep_sads_seeds_are_the_pairs_of_classes():
    dataset, found = experiments("deep_sad_mnist", "5% labels", seeds=90)
    assert dataset.label is not None
    pairs = set()
    for experiment in found:
        train, label, test, _ = experiment.case
        (normal,) = np.unique(dataset.label[train[label == 0]])
        (known,) = np.unique(dataset.label[train[label == -1]])
        pairs.add((normal, known))
        np.testing.assert_array_equal(experiment.is_anomaly, dataset.label[test] != normal)
    assert len(pairs) == 90


# No choice by test labels


def test_nothing_that_fits_or_scores_is_given_test_labels():
    """By construction: a case has no such field, and no function that fits or scores names one."""
    assert set(paper_fitting.Case._fields) == {"train", "label", "test", "prepare"}
    forbidden = {"is_anomaly", "marks", "papers", "quality", "Experiment", "oracle_f1"}
    for module, functions in (
        (paper_fitting, None),
        (adbench, {"fit_and_score"}),
    ):
        tree = ast.parse(inspect.getsource(module))
        defined = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for function in defined:
            if functions is None or function.name in functions:
                names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
                names |= {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
                names |= {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
                assert not names & forbidden, function.name
        fits = {f.name for f in defined if "fit" in _called(f) or "fit_many" in _called(f)}
        assert fits
        assert functions is None or fits == functions


def _called(function):
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {getattr(call, "attr", "") for call in calls}


class Still:
    """A detector without training: the distance from the training rows' mean."""

    batch_size, epochs, n_steps_, params_ = 10, 3, 9, None

    def __init__(self, **arguments):
        pass

    def get_params(self):
        return {}

    def set_params(self, **arguments):
        return self

    def anomaly_score(self, x):
        return np.abs(x - self.mean).sum(axis=1)


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run the suite on made sets with detectors that need no training."""

    def fit_many(models, x, y, subsets):
        for model, rows in zip(models, subsets, strict=True):
            model.mean = x[rows].mean(axis=0)

    for name in ("DAGMM", "GOAD"):
        monkeypatch.setattr(jaxad, name, Still)
    monkeypatch.setattr(Still, "paper", lambda preset, **arguments: Still(), raising=False)
    monkeypatch.setattr(jaxad, "fit_many", fit_many)
    monkeypatch.setattr(papers, "load", made)
    monkeypatch.setattr(paper_rows, "read", lambda name: TABLES[name])

    def command(*arguments, out="out"):
        arguments = (
            *(arguments or ("--rows", "thyroid raw,thyroid offsets")),
            "--tables",
            "dagmm,goad",
        )
        status = run.main(["papers", *arguments, "--seeds", "2", "--out", str(tmp_path / out)])
        written = (tmp_path / out / results.FILE).exists()
        return status, results.read(tmp_path / out).rows if written else []

    return command


@pytest.mark.slow
def test_scores_are_the_same_whatever_test_rows_are(command, monkeypatch):
    """Exchanging the marks of all test rows changes what scores are worth, not the scores."""
    scores, qualities = [], []
    judged, split = papers.quality, papers.experiments

    def quality(experiment, scored, seed):
        scores.append(scored.score)
        return judged(experiment, scored, seed)

    monkeypatch.setattr(papers, "quality", quality)
    for exchange in (False, True):
        monkeypatch.setattr(
            papers,
            "experiments",
            lambda *given, exchange=exchange: [
                e._replace(is_anomaly=e.is_anomaly ^ exchange) for e in split(*given)
            ],
        )
        _, rows = command(out=f"out{exchange}")
        qualities.append(np.concatenate([row.metrics["auroc"] for row in rows]))
    half = len(scores) // 2
    assert half == 20
    np.testing.assert_array_equal(np.concatenate(scores[:half]), np.concatenate(scores[half:]))
    np.testing.assert_allclose(qualities[0], 1 - qualities[1])


# The command


def test_the_command_measures_every_detector_and_shows_it(command, tmp_path, capsys):
    status, rows = command()
    assert status == 0
    detectors = {row.detector for row in rows if row.dataset == "thyroid raw"}
    assert detectors == {"ours", "untrained", "knn_mean", "knn_5th", "isolation_forest"}
    assert not any(row.missing for row in rows)
    details = rows[0].details
    assert (details["papers_steps"], len(details["split_sha256"])) == (3 * 10, 16)
    shown = (tmp_path / "out" / "table.txt").read_text()
    assert shown in capsys.readouterr().out
    assert "== DAGMM on thyroid" in shown
    assert "74.5* ± 1.1*" in shown
    assert "9 / 30" in shown
    assert "30% of the paper's steps" in shown


def test_an_interrupted_run_goes_on_where_it_stopped(command, monkeypatch):
    _, whole = command(out="whole")
    with monkeypatch.context() as patch:
        measured, calls = papers._measure, []

        def stopping(*given):
            calls.append(given)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return measured(*given)

        patch.setattr(papers, "_measure", stopping)
        assert command()[0] == 130
        calls.clear()
        patch.setattr(papers, "_measure", lambda *given: calls.append(given) or measured(*given))
        _, parts = command()
    assert len(calls) == len(whole) - 3
    assert [r.metrics["auroc"] for r in parts] == [r.metrics["auroc"] for r in whole]


def test_another_table_is_not_continued(command, monkeypatch, capsys):
    command()
    changed = TABLES | {"goad": dataclasses.replace(TABLES["goad"], sha256="other")}
    monkeypatch.setattr(paper_rows, "read", lambda name: changed[name])
    assert command()[0] == 2
    said = capsys.readouterr().err
    assert "holds rows of other contents of configs/goad.toml: give another --out" in said


def test_another_choice_of_rows_is_not_continued(command, capsys):
    command()
    assert command("--rows", "thyroid raw")[0] == 2
    said = capsys.readouterr().err
    assert "holds a run whose rows is ['thyroid raw', 'thyroid offsets']" in said


def test_a_detector_that_fails_is_missing_with_its_reason(command, monkeypatch, tmp_path):
    reference = paper_fitting.reference

    def failing(name, x, cases):
        if name == "knn_mean":
            raise MemoryError("too many rows")
        return reference(name, x, cases)

    monkeypatch.setattr(paper_fitting, "reference", failing)
    status, rows = command()
    assert status == 0
    reasons = {row.detector: row.missing for row in rows if row.dataset == "thyroid raw"}
    assert reasons.pop("knn_mean") == "MemoryError: too many rows"
    assert set(reasons.values()) == {None}
    shown = " ".join((tmp_path / "out" / "table.txt").read_text().split())
    assert "knn_mean is missing: MemoryError: too many rows" in shown


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("--rows", "thyroid rare"), "unknown row 'thyroid rare'; valid: KDD"),
        (("--datasets", "mnist"), "unknown dataset 'mnist'; valid: arrhythmia"),
        (("--rows", "KDD", "--datasets", "thyroid"), "no row has that name and that set"),
    ],
)
def test_what_does_not_exist_is_an_error(command, capsys, arguments, wrong):
    assert command(*arguments)[0] == 2
    assert wrong in capsys.readouterr().err


def test_without_the_data_the_command_fails_with_the_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    papers.load.cache_clear()
    out = tmp_path / "out"
    arguments = ["--tables", "deep_svdd_cifar10,dagmm", "--seeds", "1", "--out", str(out)]
    assert run.main(["papers", *arguments]) == 2
    printed = capsys.readouterr()
    assert "nothing could be measured: the folder JAXAD_DATA names" in printed.err
    assert "==" not in printed.out
    assert not out.exists()
