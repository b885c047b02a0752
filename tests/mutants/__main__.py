"""``python -m tests.mutants``: run the mutants, and print who was caught."""

import argparse
import signal
import sys
from pathlib import Path

from tests.mutants import AREAS, run

parser = argparse.ArgumentParser(
    prog="python -m tests.mutants",
    description="Break a copy of the code in one place at a time, and see which test notices. "
    "Outcomes are kept in a file as they come; a mutant whose definition and tests are as they "
    "were is not run again.",
)
parser.add_argument(
    "--only", default="", metavar="PATTERN", help="those whose area, file or phrase matches"
)
parser.add_argument(
    "--room-only", action="store_true", help="leave out the whole suite for those that survive"
)
parser.add_argument("--again", action="store_true", help="run those with a known outcome, too")
parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
parser.add_argument("--table", action="store_true", help="run none, only print the table")
parser.add_argument(
    "--results", type=Path, default=Path(__file__).with_name("results.jsonl"), metavar="FILE"
)
given = parser.parse_args()
# A run that is ended clears up; shells start background commands with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
root = Path(__file__).parents[2]
results = run.Results(given.results, root)
if not given.table:
    settings = run.Settings(root, room_only=given.room_only)
    run.run(AREAS, results, settings, only=given.only, again=given.again, jobs=given.jobs)
text = run.table(AREAS, results)
print(text)
survived, missing = (int(n) for n in text.splitlines()[len(AREAS) + 1].split()[-3:-1])
sys.exit(1 if survived or missing else 0)
