"""Mutants: small changes that break the code, to see whether the tests notice.

``python -m tests.mutants`` runs them, see ``--help``; ``results.jsonl`` has the outcomes. The lists
are data, a file for each area of the package. After a change of the code a mutant may have to be
brought up to date, which `tests/robustness/test_mutants.py` notices.
"""

from tests.mutants import (
    batching,
    checkpoints,
    decisions,
    engine,
    estimators,
    explanations,
    fleet,
    losses,
    networks,
    objectives,
    persistence,
    populations,
    scaling,
    streams,
    study,
)
from tests.mutants.mutant import Mutant as Mutant

AREAS: dict[str, list[Mutant]] = {
    "losses": losses.MUTANTS,
    "networks": networks.MUTANTS,
    "objectives": objectives.MUTANTS,
    "engine": engine.MUTANTS,
    "batching": batching.MUTANTS,
    "populations": populations.MUTANTS,
    "checkpoints": checkpoints.MUTANTS,
    "streams": streams.MUTANTS,
    "estimators": estimators.MUTANTS,
    "scaling": scaling.MUTANTS,
    "thresholds and calibration": decisions.MUTANTS,
    "explanations": explanations.MUTANTS,
    "persistence": persistence.MUTANTS,
    "fleet": fleet.MUTANTS,
    "study": study.MUTANTS,
}
