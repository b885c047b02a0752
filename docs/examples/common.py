"""What the examples share: the command line, reading a CSV, pictures and a line of results."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class InputError(ValueError):
    """An example cannot use what it was given; the message says why."""


CARD_COLUMNS = ("Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class")


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The command line of example ``name``: ``--out`` and ``--seed``; its own options follow."""
    parser = argparse.ArgumentParser(
        prog=f"python docs/examples/{name}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out = Path("results") / "examples" / name
    parser.add_argument("--out", type=Path, default=out, help=f"folder, default {out}")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the detector")
    return parser


def run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    example: Callable[[argparse.Namespace], None],
) -> int:
    """Parse, run ``example`` and name the folder. Wrong input ends the program with status 2."""
    arguments = parser.parse_args(argv)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        example(arguments)
    except InputError as error:
        parser.error(str(error))
    print(f"results: {arguments.out}")
    return 0


def read_csv(path: Path, label: str, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, pd.Series]:
    """The features and the labels (bool, true for an anomaly) of a CSV with a header.

    Args:
      path: the file.
      label: the column that is 1 for an anomaly and 0 otherwise.
      columns: every column the file must have, in the order wanted; all of them where empty.

    Raises:
      InputError: no such file, columns missing, a value that is not a number, or labels other
        than 0 and 1.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    missing = [name for name in (*columns, label) if name not in table]
    if missing:
        raise InputError(
            f"{path} lacks the columns {', '.join(dict.fromkeys(missing))}; "
            f"it has {', '.join(map(str, table))}"
        )
    table = table[list(columns)] if columns else table
    wrong = [name for name in table if pd.to_numeric(table[name], errors="coerce").isna().any()]
    if wrong:
        raise InputError(f"{path}: not every value is a number in {', '.join(wrong)}")
    if not table[label].isin((0, 1)).all() or table[label].nunique() < 2:
        raise InputError(f"{path}: column {label!r} must hold 1 (anomaly) and 0, and nothing else")
    return table.drop(columns=label), table[label].astype(bool)


def save_pictures(out: Path, **figures: "Figure") -> None:
    """Write every figure to ``out`` under its name."""
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png")


def report(name: str, score: np.ndarray, is_anomaly: np.ndarray, threshold: float) -> None:
    """Print ranking quality, and what flagging the rows above ``threshold`` does."""
    flagged = score > threshold
    precision, recall, f1, _ = precision_recall_fscore_support(
        is_anomaly, flagged, average="binary", zero_division=0
    )
    print(
        f"{name:<22} AUROC {roc_auc_score(is_anomaly, score):.3f}  "
        f"AP {average_precision_score(is_anomaly, score):.3f}  "
        f"threshold {threshold:.4g}: flagged {flagged.sum()} of {len(flagged)}, "
        f"precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}"
    )
