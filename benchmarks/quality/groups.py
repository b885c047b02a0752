"""Made tables of groups that are each normal in their own way."""

from typing import NamedTuple

import numpy as np
import pandas as pd

GROUP = "group"


class Groups(NamedTuple):
    """G groups of rows ``[D]``: each its own mean, scale and correlation.

    A row is ``mean + scale * (latent @ mix + noise)``, of unit variance before it is scaled. The
    few latent values correlate its columns.

    Attributes:
      mean: ``[G, D]``.
      scale: ``[G, D]``.
      mix: ``[G, L, D]``.
      noise: ``[G, D]``, the standard deviation of what is each column's own.
    """

    mean: np.ndarray
    scale: np.ndarray
    mix: np.ndarray
    noise: np.ndarray

    @staticmethod
    def draw(
        groups: int, columns: int, seed: int, *, latent: int = 3, alike: float = 0.0
    ) -> "Groups":
        """Draw groups: means over ten units, scales over a decade.

        ``alike`` is the share, in [0, 1], of the correlation that groups have in common, as
        machines of one make do.
        """
        random = np.random.default_rng(seed)
        mean = random.normal(0, 3, (groups, columns))
        scale = np.exp(random.normal(0, 0.7, (groups, columns)))
        common = np.sqrt(alike) * random.normal(size=(1, latent, columns))
        mix = common + np.sqrt(1 - alike) * random.normal(size=(groups, latent, columns))
        share = 0.9  # of a column's variance that it has in common with others
        mix *= np.sqrt(share / np.square(mix).sum(1, keepdims=True))
        noise = np.full((groups, columns), np.sqrt(1 - share))
        fields = (mean, scale, mix, noise)
        return Groups(*(values.astype(np.float32) for values in fields))

    def rows(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        """Normal rows ``[count, D]`` of a group, float32."""
        latent = random.standard_normal((count, self.mix.shape[1]), np.float32)
        own = random.standard_normal((count, self.mean.shape[1]), np.float32)
        unit = latent @ self.mix[group] + self.noise[group] * own
        return self.mean[group] + self.scale[group] * unit

    def shuffled(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        """Anomalies ``[count, D]``: every column as in normal rows, but each by itself."""
        return random.permuted(self.rows(group, count, random), axis=0)

    def shifted(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        """Anomalies ``[count, D]``: two columns of each row are off by 2 standard deviations."""
        x = self.rows(group, count, random)
        off = 2 * random.choice([-1, 1], x.shape) * (random.random(x.shape).argsort(1) < 2)
        return x + self.scale[group] * off.astype(np.float32)

    def frame(self, counts: np.ndarray, random: np.random.Generator) -> pd.DataFrame:
        """A table of normal rows, so many of each group."""
        return table([self.rows(g, n, random) for g, n in enumerate(counts.tolist())])


def table(rows: list[np.ndarray]) -> pd.DataFrame:
    """A table of the rows ``[n, D]`` of groups, which are numbered from 0."""
    x = np.concatenate(rows)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    frame[GROUP] = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    return frame


def sizes(groups: int, least: int, most: int, random: np.random.Generator) -> np.ndarray:
    """Numbers of rows, evenly spread on a logarithmic scale."""
    return np.exp(random.uniform(np.log(least), np.log(most + 1), groups)).astype(np.int64)
