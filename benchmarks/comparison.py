"""Variants timed against each other, the targets they must meet, and both as a result."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from tqdm import tqdm

from benchmarks import environment, schema, table
from benchmarks.bounds import bound_of
from benchmarks.options import Options
from benchmarks.timing import Timing, interleaved, ratio

TARGET = "target"  # the data set's name in rows that hold a `Target`
GIVE_UP = 10.0
PAUSE = 0.3


class Target(NamedTuple):
    """A figure to reach and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool | None


def timed(
    what: str,
    variants: Mapping[str, Callable],
    repeats: int,
    give_up: float = GIVE_UP,
    failures: dict[str, str] | None = None,
) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """`benchmarks.timing.interleaved` with a progress bar.

    By default a variant ten times slower than the fastest is not repeated. Where there are
    ``failures`` to write into, a variant that is not ours and fails is left out, with the reason.
    """

    def failed(name: str, error: Exception) -> bool:
        if failures is None or name.startswith("jaxad"):
            return False
        lines = str(error).strip().splitlines()
        failures[name] = f"{type(error).__name__}: {lines[0] if lines else ''}"
        return True

    bar = partial(tqdm, total=len(variants) * (repeats + 1), desc=what, unit="run")
    return interleaved(variants, repeats, give_up=give_up, pause=PAUSE, progress=bar, failed=failed)


def on_each_core_count(
    loops: Mapping[str, Callable[[int], object]],
) -> tuple[dict[str, Callable[[], None]], list[int]]:
    """Every loop on one core and on all, by label, and these core counts.

    A loop is told how many cores it has. Callers pin the process back to all cores in the end.
    """
    cores = environment.usable_cores()
    counts = sorted({1, len(cores)}) if environment.pin(cores) else [len(cores)]

    def confined(loop: Callable[[int], object], count: int) -> None:
        environment.pin(cores[-count:])
        loop(count)

    variants = {
        label(name, count): partial(confined, loop, count)
        for name, loop in loops.items()
        for count in counts
    }
    return variants, counts


def label(name: str, count: int) -> str:
    """The name of a loop on so many cores."""
    return f"{name}, {count} core{'s' * (count > 1)}"


def at_least(what: str, slow: Timing, fast: Timing, goal: float | None) -> Target:
    """That one variant takes ``goal`` times as long as another; without a goal it is only told."""
    over = ratio(slow, fast)
    if goal is None:
        return Target(what, "-", str(over), None)
    return Target(what, f">= {goal:g}", str(over), over.median >= goal)


def against_best(
    what: str,
    goals: Mapping[str, float | None],
    later: Mapping[str, Timing],
    counts: Sequence[int],
) -> list[Target]:
    """Each kind of loop at its best against ours on all cores, then both on one core.

    Args:
      what: names the part.
      goals: kind (a piece of a loop's name) -> how many times our time it takes at least.
      later: the repeated timings; ours are named ``jaxad``.
      counts: core counts that were measured.
    """
    targets = []
    for among, ours in dict.fromkeys(((tuple(counts), counts[-1]), ((1,), 1))):
        endings = tuple(label("", count) for count in among)
        for kind, goal in goals.items():
            names = [name for name in later if kind in name and name.endswith(endings)]
            if not names:
                continue
            best = min(names, key=lambda name: later[name].median)
            reference = label("jaxad", ours)
            targets.append(
                at_least(f"{what}: {best} / {reference}", later[best], later[reference], goal)
            )
    return targets


def not_measured(what: str, goal: float | None, reason: str) -> Target:
    """A target that nothing can be said about."""
    return Target(what, "-" if goal is None else f">= {goal:g}", f"missing: {reason}", None)


def timed_rows(
    part: str,
    first: Mapping[str, Timing],
    later: Mapping[str, Timing],
    reference: str,
    units: int,
) -> list[schema.Row]:
    """Seconds of every repetition, per unit (step or row), and against the reference."""
    rows = []
    for name, timing in later.items():
        pairs = zip(timing.seconds, later[reference].seconds, strict=False)
        metrics = {
            "seconds": timing.seconds,
            "first_seconds": first[name].seconds,
            "microseconds_per_unit": [1e6 * s / units for s in timing.seconds],
            "ratio": [a / b for a, b in pairs],
        }
        rows.append(schema.Row(part, name, metrics, {"units": units}))
    return rows


def verdicts(targets: Sequence[Target]) -> list[schema.Row]:
    """Targets as rows of a record, see `targets_of`."""
    return [schema.Row(TARGET, t.what, details=t._asdict()) for t in targets]


def targets_of(rows: Sequence[schema.Row]) -> list[Target]:
    """The targets among the rows of a record."""
    fields = Target._fields
    return [Target(*(r.details[f] for f in fields)) for r in rows if r.dataset == TARGET]


def finish(
    options: Options,
    rows: Sequence[schema.Row],
    targets: Sequence[Target],
    begun: schema.Begun,
    *,
    columns: Sequence[table.Column] | None = None,
    note: str | None = None,
) -> None:
    """Print rows and targets as tables; write them to ``rows.json`` and ``table.txt``.

    ``columns`` and ``note`` are by default those of `timed_rows`.
    """
    result = schema.record(
        options.suite,
        [*rows, *verdicts(targets)],
        seeds=[0],
        config=dict(options.settings),
        threads=options.threads,
        begun=begun,
    )
    schema.write(options.out / "rows.json", result)
    parts = [note or _NOTE, table.text(*table.cells(rows, columns or COLUMNS))]
    shown = "\n\n".join([*parts, *([targets_text(targets)] if targets else [])]) + "\n"
    (options.out / "table.txt").write_text(shown)
    print(f"\n{shown}")


def targets_text(targets: Sequence[Target]) -> str:
    """What was to be reached, what was, whether that is enough, and what bounds it if known."""
    verdict = {True: "yes", False: "no", None: "-"}
    body = [[t.what, t.goal, t.measured, verdict[t.met]] for t in targets]
    text = table.text(["target", "goal", "measured", "met"], body, left=1, grouped=False)
    bounds = bounds_of(targets)
    return text if not bounds else f"{text}\n\n" + "\n".join(bounds)


def bounds_of(targets: Sequence[Target]) -> list[str]:
    """What is known to bound the targets that were missed, each once, behind its first target."""
    found: dict[str, str] = {}
    for target in targets:
        if target.met is False and (bound := bound_of(target.what)):
            found.setdefault(bound, target.what)
    return [f"{what}: {bound}" for bound, what in found.items()]


def show_spread(digits: int) -> table.Show:
    """The median with the quartiles, ``1.20 [1.10, 1.30]``."""

    def show(values: Sequence[float]) -> str:
        timing = Timing(tuple(values))
        low, high = timing.quartiles
        return f"{timing.median:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"

    return show


COLUMNS = (
    table.Column("seconds", "seconds", show_spread(3)),
    table.Column("us per step or row", "microseconds_per_unit", show_spread(2)),
    table.Column("times jaxad", "ratio", show_spread(2)),
    table.Column("first run s", "first_seconds", table.first(2)),
)
_NOTE = (
    "Medians [quartiles]; variants interleaved in one process, first runs (compilation) apart.\n"
    f"Where variants do the same work, one {GIVE_UP:g} times slower than the fastest in the first "
    "round is not repeated."
)
