"""A planted set that needs learning: anomalies no single feature, nor their sum, gives away."""

import numpy as np


def planted(seed=0, rows=600, anomalies=150, features=12):
    """Normal rows lie near a 2-dimensional plane in ``features`` dimensions; anomalies do not.

    Every feature of an anomaly has the distribution it has in normal rows, since its entries are
    drawn from different normal rows: only what ties features together tells them apart.

    Returns:
      ``(train [rows, D], test [rows + anomalies, D], is_anomaly [rows + anomalies])``
    """
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(2, features))

    def normal(count):
        return rng.normal(size=(count, 2)) @ plane + 0.1 * rng.normal(size=(count, features))

    shuffled = normal(anomalies)
    for column in shuffled.T:
        rng.shuffle(column)
    test = np.concatenate([normal(rows), shuffled])
    is_anomaly = np.r_[np.zeros(rows, bool), np.ones(anomalies, bool)]
    return normal(rows).astype(np.float32), test.astype(np.float32), is_anomaly
