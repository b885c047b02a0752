"""One run on several hosts: the same program started once in each, each with rows of its own.

Where a cluster tells its processes about each other, start it plainly in all of them:

  srun python docs/examples/several_hosts.py    Slurm; Open MPI likewise, by mpirun
  python docs/examples/several_hosts.py         in every pod of an indexed Kubernetes job
                                                (pip install 'jax[k8s]'), and on every worker
                                                of a cloud TPU slice

Elsewhere say where process 0 listens, on a free port that the other hosts reach. On two hosts:

  python docs/examples/several_hosts.py --address 10.0.0.1:4321 --processes 2 --process 0
  python docs/examples/several_hosts.py --address 10.0.0.1:4321 --processes 2 --process 1

To try it on one machine use 127.0.0.1 and two terminals; --devices 2 makes two devices of each
process's processor. Traffic between CPU hosts is not encrypted: stay within a network you trust.

--rows names each process's own .npy file of rows [N, D], such as 'part-{process}.npy'; the files
may differ in length. Without it each process draws some rows. It trains one Deep SVDD on the rows
of all, every batch shared out among all devices; then a population of them, whose members are
shared out and whose rows (those of --shared, or drawn) every process reads. Each process scores
rows by itself.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import common
import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxad import metrics, networks, objectives, training

FEATURES, DRAWN = 30, 20_000


def draw(seed: int, count: int = DRAWN) -> np.ndarray:
    """Normal rows ``[count, 30]`` with eight directions of variance."""
    mix = np.random.default_rng(0).normal(size=(8, FEATURES))
    rng = np.random.default_rng(seed)
    noise = rng.normal(scale=0.3, size=(count, FEATURES))
    return (rng.normal(size=(count, 8)) @ mix + noise).astype(np.float32)


def read(path: str) -> np.ndarray:
    """Rows ``[N, D]`` from a .npy file."""
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise common.InputError(f"cannot read {path}: {error}") from error
    if x.ndim != 2:
        raise common.InputError(f"{path} has shape {x.shape}: need rows [N, D]")
    return x.astype(np.float32)


def example(arguments: argparse.Namespace) -> None:
    """Join the others, train on the rows of all, score by oneself."""
    if arguments.devices:
        training.use_cores(arguments.devices)
    try:
        training.join_hosts(arguments.address, arguments.processes, arguments.process)
    except ValueError as error:
        raise common.InputError(str(error)) from error
    process, seed = jax.process_index(), arguments.seed
    own = read(arguments.rows.format(process=process)) if arguments.rows else draw(seed + process)
    shared = read(arguments.shared) if arguments.shared else draw(seed + 1000, DRAWN // 10)
    say(
        f"{len(own)} rows of my own; {jax.process_count()} processes, "
        f"{jax.local_device_count()} devices each"
    )

    objective = objectives.deep_svdd(networks.MLP((64, 32)))
    recipe = training.Recipe(epochs=arguments.epochs, batch_size=arguments.batch_size)
    mesh = training.make_mesh(1, jax.device_count())
    key = jax.random.key(seed)
    result = training.fit(objective, recipe, key, own, mesh=mesh)
    multihost_utils.assert_equal((result.params, result.stats), "processes differ")
    losses = result.history["loss"]
    say(f"Deep SVDD: loss {losses[0]:.5f} -> {losses[-1]:.5f}, the same parameters everywhere")
    score = training.score(objective, result.params, result.stats, own)
    say(f"Deep SVDD: mean score of my own rows {score.mean():.5f}")

    keys = jax.random.split(key, arguments.members)
    population = training.fit_population(objective, recipe, keys, shared)
    multihost_utils.assert_equal(population.params, "processes differ")
    outliers = np.random.default_rng(process).uniform(-4, 4, (200, shared.shape[1]))
    mixed = np.concatenate([shared[:2000], outliers.astype(np.float32)])
    is_anomaly = np.arange(len(mixed)) >= len(mixed) - len(outliers)
    scores = training.score_population(objective, population.params, population.stats, mixed)
    found = [metrics.roc_auc(score, is_anomaly) for score in scores]
    losses = population.history["loss"][:, -1]
    say(
        f"population of {arguments.members}: final losses {losses.round(5)}, "
        f"{population.failed.sum()} failed; AUROC on outliers of my own {np.mean(found):.3f}"
    )


def say(text: str) -> None:
    """Print a line that tells which process says so."""
    print(f"process {jax.process_index()}: {text}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("several_hosts", __doc__)
    parser.add_argument("--address", help="host:port of process 0; by default a cluster tells it")
    parser.add_argument("--processes", type=int, help="how many there are, likewise")
    parser.add_argument("--process", type=int, help="the number of this one, likewise")
    parser.add_argument("--devices", type=int, help="CPU devices of each process")
    parser.add_argument("--rows", metavar="PATTERN", help="own rows, 'part-{process}.npy'")
    parser.add_argument("--shared", type=Path, help="rows of the population, a .npy file")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1024, help="rows of a step, all devices'")
    parser.add_argument("--members", type=int, default=4, help="of the population")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
