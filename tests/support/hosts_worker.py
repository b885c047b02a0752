"""What each of two processes runs for `test_hosts`: ``ADDRESS PROCESS ROWS.npy OUT.npz``."""

import sys
from dataclasses import replace

import jax
import numpy as np

from jaxad import training

address, process, source, out = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
training.join_hosts(address, processes=2, process=process, timeout=60)

from cases import KEY, KEYS, OBJECTIVES, SHARED, WATCHED, labelled  # noqa: E402  (uses JAX)

SAD = OBJECTIVES["deep_sad"]
FIRST = 110  # rows of process 0; the other has the rest
found = {}


def record(name, objective, result, rows):
    """Loss, parameters and, each process by itself, scores."""
    leaves = jax.tree.leaves(result.params)
    found[f"{name}, loss"] = result.history["loss"]
    found[f"{name}, params"] = np.concatenate([np.ravel(leaf) for leaf in leaves])
    found[f"{name}, score"] = training.score(objective, result.params, result.stats, rows)


def refused(name, function):
    try:
        function()
    except (ValueError, RuntimeError) as error:
        found[name] = np.array(f"{type(error).__name__}: {error}")


rows = np.load(source)
whole = labelled(rows)
mine = slice(FIRST) if process == 0 else slice(FIRST, None)
own = whole.take(np.arange(300)[mine])
mesh = training.make_mesh(1, jax.device_count())

for name in ("soft_boundary", "dagmm", "goad"):
    result = training.fit(OBJECTIVES[name], SHARED, KEY, own, mesh=mesh)
    record(name, OBJECTIVES[name], result, rows)

# Places of the data axis that alternate between the processes; groups of epochs by the clock.
turns = training.make_mesh(1, 4, devices=[jax.devices()[i] for i in (2, 0, 3, 1)])
held_out = rows[40:60] if process == 0 else rows[:40]
given = {"validation": held_out, "mesh": turns, "progress": True}
record("watched", SAD, training.fit(SAD, WATCHED, KEY, own, **given), rows)

# Each by itself: what the other does is no matter.
given = {"validation": held_out, "progress": process == 0}
record("alone", SAD, training.fit(SAD, WATCHED, KEYS[process], whole, **given), rows)

soft = OBJECTIVES["soft_boundary"]
population = training.fit_population(soft, SHARED, KEYS, whole)
record("member", soft, population.member(2), rows)
found["failed"] = population.failed
members = population.params, population.stats
for name, place in (("own", None), ("all", training.make_mesh())):
    scored = training.score_population(soft, *members, rows, mesh=place)
    found[f"population on {name} devices, score"] = scored


def fit(rows=own, recipe=SHARED, mesh=mesh, **given):
    training.fit(SAD, recipe, KEY, rows, mesh=mesh, **given)


refused("columns", lambda: fit(own.x[:, : 5 - process]))
refused("none", lambda: fit(own.x if process == 0 else own.x[:0]))
refused("types", lambda: fit(replace(own, label=own.label.astype([np.int32, float][process]))))
refused("recipe", lambda: fit(recipe=training.Recipe(epochs=2 + process)))
refused("batch size", lambda: fit(recipe=SHARED.replace(batch_size=56 << process)))
refused("validation", lambda: fit(validation=own if process else None))
refused("shared place", lambda: fit(mesh=training.make_mesh(2, 2)))
if process == 1:
    refused("not in it", lambda: fit(mesh=training.make_mesh(1, 2)))
refused("population rows", lambda: training.fit_population(SAD, SHARED, KEYS, own))
refused("twice", lambda: training.join_hosts(address, 2, process))
np.savez(out, **found)
