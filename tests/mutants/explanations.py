"""Mutants of explanations: integrals, bases, background rows."""

from tests.mutants.mutant import of

_EXPLANATIONS = ("tests/estimators/test_explanations.py",)

MUTANTS = [
    *of(
        "jaxad/estimators/explanations.py",
        _EXPLANATIONS,
        (
            "base = float(score[len(x) :].mean())",
            "base = float(score.mean())",
            "the base is the mean over the explained rows, too",
        ),
        (
            "return values + share * missing, short",
            "return values, short",
            "what the integral misses is not shared out",
        ),
        (
            "left = np.flatnonzero(~(missing <= allowed))",
            "left = np.flatnonzero(missing > np.inf)",
            "integrals are not refined",
        ),
        (
            'weights = 1 / (detector.combination_["scale"] * detector.n_members_)',
            "weights = np.full(detector.n_members_, 1 / detector.n_members_)",
            "members' contributions have their own units",
        ),
        (
            "values = ensemble.average([own / s for own, s in zip(members, scale, strict=True)])",
            "values = members[0] / scale[0]",
            "the first member alone is explained",
        ),
        (
            "if values.ndim == 4:",
            "if False:",
            "channels of images are not summed",
        ),
        (
            "return (gradient * step).reshape(len(x), many, *row).mean(axis=1)",
            "return (gradient * step).reshape(many, len(x), *row).mean(axis=0)",
            "gradients of a row go to another row",
        ),
    ),
    *of(
        "jaxad/training/scoring.py",
        ("tests/training/test_scoring.py", *_EXPLANATIONS),
        (
            "nodes = jnp.asarray((_NODES + 1) / 2, jnp.float32)",
            "nodes = jnp.asarray(_NODES, jnp.float32)",
            "the quadrature's points lie on twice the path",
        ),
        (
            "whole[done:] = part",
            "whole[: len(part)] = part",
            "blocks of scores overwrite the first one",
        ),
        (
            "weakref.finalize(leaf, _kept.pop, key, None)",
            "pass",
            "models that were scored stay in memory",
        ),
    ),
    *of(
        "jaxad/estimators/explanations.py",
        (
            "tests/estimators/test_explanations.py::test_background_rows_are_normal_ones",
            "tests/estimators/test_explanations.py",
        ),
        (
            'order = np.argsort(scores[:, drawn].mean(axis=0), kind="stable")',
            'order = np.argsort(-scores[:, drawn].mean(axis=0), kind="stable")',
            "the background is the rows that score highest",
        ),
    ),
    *of(
        "jaxad/estimators/explanations.py",
        (
            "tests/estimators/test_explanations.py::test_contributions_are_the_integral_of_the_gradient",
            "tests/estimators/test_explanations.py",
        ),
        (
            "ends = np.stack([first + cut * step, first + (cut + 1) * step], axis=1)",
            "ends = np.stack([first, first + step], axis=1)",
            "all parts of a path are its first part",
        ),
    ),
    *of(
        "jaxad/estimators/explanations.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "normal = usable & (np.asarray(label) >= 0)",
            "normal = usable",
            "known anomalies are background rows",
        ),
        (
            "usable[plan.held_out] = False",
            "pass",
            "rows that are held out are background rows",
        ),
    ),
]
