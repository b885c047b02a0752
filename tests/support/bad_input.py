"""What users get wrong, and the error that each case raises."""

import numpy as np
import pandas as pd
from cases import fresh

import jaxad
from jaxad import data, training

ROWS = np.random.default_rng(0).normal(size=(60, 5))


def _fit(name, **options):
    return lambda: fresh(name, **options).fit(ROWS)


def _on(X, y=None, name="DeepSVDD", **options):
    return lambda: fresh(name, **options).fit(X, y)


def _stream(blocks, y=None, name="DeepSVDD", **options):
    return lambda: fresh(name, **options).fit(data.stream(blocks), y)


def _sweep(grid, **options):
    return lambda: jaxad.sweep(fresh("DeepSVDD"), grid, ROWS, progress=False, **options)


def _with(value, at):
    rows = ROWS.copy()
    rows[at] = value
    return rows


OPTIONS = [
    ("DeepSVDD", {"nu": 0}),
    ("DeepSVDD", {"nu": 1.7}),
    ("DeepSVDD", {"nu": "a"}),
    ("DeepSVDD", {"contamination": 0.6}),
    ("DeepSVDD", {"contamination": -0.1}),
    ("DeepSVDD", {"hidden": (8, 0)}),
    ("DeepSVDD", {"latent_dim": -2}),
    ("DeepSVDD", {"batch_size": 0}),
    ("DeepSVDD", {"batch_size": 2.5}),
    ("DeepSVDD", {"epochs": -1}),
    ("DeepSVDD", {"epochs": "many"}),
    ("DeepSVDD", {"epochs": 2.5}),
    ("DeepSVDD", {"learning_rate": 0}),
    ("DeepSVDD", {"learning_rate": None}),
    ("DeepSVDD", {"weight_decay": -1}),
    ("DeepSVDD", {"objective": "two-class"}),
    ("DeepSVDD", {"network": "resnet"}),
    ("DeepSVDD", {"network": "mnist_lenet", "latent_dim": 3}),
    ("DeepSVDD", {"scaler": "quantile"}),
    ("DeepSVDD", {"validation_fraction": 1.0}),
    ("DeepSVDD", {"validation_fraction": 0.999}),
    ("DeepSVDD", {"patience": 0}),
    ("DeepSVDD", {"clip_norm": 0}),
    ("DeepSVDD", {"n_members": 0}),
    ("DeepSVDD", {"n_members": 2.5}),
    ("DeepSVDD", {"combine": "median"}),
    ("DeepSVDD", {"random_state": "x"}),
    ("DeepSVDD", {"random_state": -1}),
    ("DeepSVDD", {"warm_start": 1}),
    ("DeepSVDD", {"warm_up_epochs": -1}),
    ("DeepSVDD", {"pretrain_epochs": -1}),
    ("DeepSVDD", {"pretrain_learning_rate": 0}),
    ("DeepSVDD", {"milestones": (-1,)}),
    ("DeepSAD", {"eta": 0}),
    ("DeepSAD", {"epsilon": 0}),
    ("DeepSAD", {"pretrain_on": "none"}),
    ("DAGMM", {"n_components": 301}),
    ("DAGMM", {"n_components": 0}),
    ("DAGMM", {"latent_dim": 6}),
    ("DAGMM", {"jitter": 0}),
    ("DAGMM", {"dropout": 1.0}),
    ("DAGMM", {"reduction": "max"}),
    ("GOAD", {"n_transforms": 1}),
    ("GOAD", {"epsilon": 0}),
    ("GOAD", {"margin": -1}),
    ("GOAD", {"resnet_depth": 11}),
    ("GOAD", {"network": "conv"}),
    ("AutoEncoder", {"noise": -1}),
    ("AutoEncoder", {"time_decay": -1}),
]
CASES = {
    f"{name}({key}={value!r})": _fit(name, **options)
    for name, options in OPTIONS
    for key, value in list(options.items())[-1:]
}
CASES |= {
    "NaN": _on(_with(np.nan, (3, 2))),
    "infinity": _on(_with(np.inf, (4, slice(2)))),
    "images": _on(np.zeros((9, 8, 8))),
    "a table for an image network": _fit("DeepSVDD", network="conv"),
    "a text column": _on(pd.DataFrame({"a": [1.0, 2, 3], "city": ["x", "y", "z"]})),
    "labels of another length": _on(ROWS, np.zeros(3), "DeepSAD"),
    "labels of other values": _on(ROWS, np.full(60, 2), "DeepSAD"),
    "boolean labels": _on(ROWS, np.zeros(60, bool), "DeepSAD"),
    "only anomalies": _on(ROWS, np.full(60, -1), "DeepSAD"),
    "a value beyond float32": lambda: fresh("DeepSVDD").fit(ROWS).anomaly_score(ROWS * 1e300),
    "checkpoints without a seed": lambda: fresh("DeepSVDD", random_state=None).fit(
        ROWS, checkpoints="unused"
    ),
    "a stream's labels twice": _stream(ROWS, np.zeros(60)),
    "a stream held out": _stream(ROWS, validation_fraction=0.1),
    "a stream's median": _stream(ROWS, scaler="robust"),
    "a stream read once": _stream(iter([ROWS])),
    "a stream of one row": _stream(ROWS[:1]),
    "a stream with NaN": _stream(_with(np.nan, (3, 2))),
    "a stream of anomalies": lambda: fresh("DeepSAD").fit(data.stream(ROWS, label=np.full(60, -1))),
    "a stream to explain": lambda: fresh("DeepSVDD").fit(ROWS).explain(data.stream(ROWS)),
    "rows of training": _on(training.as_rows(ROWS)),
    "a stream to fit many on": lambda: jaxad.fit_many(
        [fresh("DeepSVDD", n_members=2)], data.stream(ROWS)
    ),
    "a stream to sweep": lambda: jaxad.sweep(fresh("DeepSVDD"), {}, data.stream(ROWS)),
    "a stream of rows = 0": lambda: data.stream(ROWS, rows=0),
    "no source": lambda: data.stream(3),
    "held out in partial_fit": lambda: fresh("DeepSVDD", validation_fraction=0.2).partial_fit(ROWS),
    "an argument to sweep that is not there": _sweep({"eta": [1]}),
    "a seed to sweep": _sweep({"random_state": [1]}),
    "no seeds": _sweep({}, seeds=0),
    "folds without marks": _sweep({}, folds=3),
    "marks without folds": _sweep({}, is_anomaly=np.ones(3)),
    "marks of another length": _sweep({}, is_anomaly=np.ones(3), folds=2),
    "marks of other values": _sweep({}, test=(np.ones((2, 5)), [-1, 1])),
    "subsets of another length": lambda: jaxad.fit_many(
        [fresh("DeepSVDD")] * 2, ROWS, subsets=[np.arange(9)]
    ),
    "the spread of a single model": lambda: fresh("DeepSVDD").fit(ROWS).score_spread(ROWS),
    "a method to explain that is not there": lambda: (
        fresh("DeepSVDD").fit(ROWS).explain(ROWS, method="reconstruction")
    ),
    "a paper's set that is not there": lambda: jaxad.DAGMM.paper("iris"),
    "no such file": lambda: jaxad.load("no/such/file"),
    "more devices than there are": lambda: training.make_mesh(1, 99),
    "no cores": lambda: training.use_cores(0),
    "half an address": lambda: training.join_hosts("127.0.0.1:4321", processes=2),
    "checkpoints every -1": lambda: training.Checkpoints("unused", every=-1),
    "keep no checkpoints": lambda: training.Checkpoints("unused", keep=0),
    "an unknown backend": lambda: training.Checkpoints("unused", backend="tape"),
    "a data set that is not there": lambda: data.load("thyroyd"),
}


def raised(case):
    """``"Kind: message"`` of what a case raises."""
    try:
        CASES[case]()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"
