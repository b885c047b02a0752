"""The benchmark command: its suites, settings and errors."""

import pytest

from benchmarks import run
from benchmarks.quality import quick
from benchmarks.record import suite
from benchmarks.speed import throughput


def failing(capsys, *arguments):
    """The message of a command that must fail with status 2."""
    assert run.main(list(arguments)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", run.SUITES)
def test_every_suite_has_what_the_command_needs(name):
    one = run.SUITES[name]
    assert one.DESCRIPTION
    assert callable(one.parts)
    assert hasattr(one, "text") or one.NOTE
    assert set(one.CHOICES) <= set(one.DEFAULTS)


def test_help_lists_every_suite(capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for name, one in run.SUITES.items():
        assert name in printed
        assert one.DESCRIPTION in printed


@pytest.mark.parametrize(
    ("arguments", "wrong", "valid"),
    [
        (["fast"], "suite 'fast'", "quick"),
        (["--datasets", "digits,cats"], "dataset 'cats'", "breast_cancer"),
        (["--detectors", "svm"], "detector 'svm'", "nearest_neighbours"),
        (["scaling", "--seeds", "2"], "setting 'seeds'", "repeats"),
        (["--seeds", "0"], "'seeds' must be", "at least 1"),
        (["--threads", "0"], "--threads 0", "1 to"),
        (["papers", "--effort", "200"], "'effort' must be", "at most 100"),
        (["papers", "--seeds", "0"], "'seeds' must be", "at least 1"),
        (["papers", "--effort", "0"], "'effort' must be", "at least 1"),
        (["--config", "nowhere.toml"], "nowhere.toml", "cannot read"),
    ],
)
def test_what_does_not_exist_is_an_error_that_names_what_does(capsys, arguments, wrong, valid):
    message = failing(capsys, *arguments)
    assert wrong in message
    assert valid in message


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("sedes = 3", "unknown setting 'sedes'; valid: seeds, "),
        ("seeds = 'three'", "'seeds' must be a whole number"),
        ("seeds = true", "'seeds' must be a whole number"),
        ("epochs = 'many'", '"auto"'),
        ("contamination = -0.1", "'contamination' must be a number"),
        ("datasets = []", "'datasets' must be a list"),
        ("suite = 'scaling'\nseeds = 3", "valid: repeats, "),
        ("seeds = ", "is not TOML"),
    ],
)
def test_a_wrong_config_is_an_error_that_says_what_is_wrong(tmp_path, capsys, text, wrong):
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert wrong in failing(capsys, "--config", str(path))


def test_a_config_for_another_suite_is_refused(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("suite = 'quick'")
    assert "is for suite 'quick'" in failing(capsys, "scaling", "--config", str(path))


def test_command_line_wins_over_config_and_config_over_defaults(tmp_path, monkeypatch, capsys):
    path = tmp_path / "config.toml"
    path.write_text("seeds = 3\ncontamination = 0.2")
    seen = []
    monkeypatch.setattr(suite, "run", lambda _, options: seen.append(options))
    out = tmp_path / "results"
    assert run.main(["--config", str(path), "--seeds", "2", "--out", str(out)]) == 0
    (options,) = seen
    assert (options.settings["seeds"], options.settings["contamination"]) == (2, 0.2)
    assert options.settings["datasets"] == quick.SETS
    assert capsys.readouterr().out.splitlines()[-1] == f"results: {out}"


def test_an_interruption_ends_the_command_with_its_own_status(tmp_path, monkeypatch, capsys):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "parts", interrupted)
    assert run.main(["throughput", "--out", str(tmp_path)]) == 130
    assert f"what was measured so far is in {tmp_path}" in capsys.readouterr().err
