"""Tables of runs with planted differences."""

import numpy as np
import pandas as pd

from jaxad.study.runs import METRICS


def table(variants, sets=12, seeds=3, noise=0.0, spread=0.1, seed=0, **others):
    """Runs of each variant: its gain, a number or one for each set, is added to the set's level.

    ``spread`` is of the sets' levels, ``noise`` of the runs. ``others`` are further columns.
    """
    rng = np.random.default_rng(seed)
    level = 0.6 + spread * rng.uniform(-1, 1, sets)
    rows = []
    for variant, gain in variants.items():
        gains = np.broadcast_to(gain, sets)
        for s in range(sets):
            for run in range(seeds):
                figure = level[s] + gains[s] + noise * rng.normal()
                rows.append(
                    {"set": f"set{s:02d}", "variant": variant, "numbers": "{}", "seed": run}
                    | dict.fromkeys(METRICS, figure)
                    | {"train_rows": 100 * 2**s, "features": 3 + s, "test_rows": 100}
                    | {"anomalies": 10, "split": f"{s}-{run}", "config": "c"}
                    | {"fit_seconds": 0.5, "note": ""}
                )
    return pd.DataFrame(rows).assign(**others)
