"""GOAD as a scikit-learn estimator."""

import math
from typing import Any

import numpy as np

from jaxad import objectives
from jaxad.estimators.base import Detector
from jaxad.estimators.checks import check_interval, check_positive_int
from jaxad.networks import MLP, WideResNet, build, check_shift
from jaxad.networks.wide_resnet import check_sizes
from jaxad.typing import Objective


class GOAD(Detector):
    """Classification-based anomaly detection (Bergman & Hoshen, ICLR 2020).

    A network learns to tell M random linear maps of a table's row, or 72 geometric transforms of a
    square image, apart; a row whose transforms are confused is anomalous. Train on rows that are
    mostly normal; no labels are used.

    To the network a batch of images is 72 times as many: choose a small ``batch_size``, and without
    an accelerator a small ``resnet_width`` and few rows.

    Args:
      network: ``"mlp"`` for tables, ``"wide_resnet"`` for images, or a Flax module, which gets
        what a row or an image is transformed to.
      n_transforms: M of a table, at least 2; images have 72.
      transform_dim: r, what a table's row is mapped to.
      hidden: hidden widths of the MLP; with none it is linear, and on standardised rows all
        scores are nearly equal (a warning says so).
      latent_dim: L of the MLP; that of the residual network is ``64 * resnet_width``.
      resnet_depth: of the residual network: 10, 16, 22, ...
      resnet_width: factor of the residual network's channels.
      shift: how many pixels an image is shifted; None is a quarter of its side.
      margin: of the triplet-centre loss.
      triplet_weight: weight of the triplet-centre loss, the paper's lambda.
      epsilon: least squared distance in the score's probabilities.
      map_scale: standard deviation of the maps' entries; 1 in the paper.
      map_offset: standard deviation of the maps' offsets, in units of a mapped standardised row.
        With 0 the maps are linear; training then tells them apart better the farther a row is from
        the mean, and can make anomalies look normal.
      reconstruction_weight: weight, in loss and score, of reconstructing every mapped row from its
        latent vector by a decoder of its own; 0 for none. For tables only.
      epochs: a number, or ``"auto"``: about 300 steps, from 1 to 200 epochs. 0 leaves the
        networks untrained (a control).
      scaler: that of `DeepSVDD`; images are taken to have pixels in [0, 1] after it, as with
        ``"auto"``, and shown to the network in [-1, 1].
      **others: ``batch_size``, ``learning_rate``, ``weight_decay``, ``milestones``, ``clip_norm``,
        ``validation_fraction``, ``patience``, ``n_members``, ``combine``, ``contamination``,
        ``warm_start``, ``random_state`` and ``verbose``, and the fitted attributes, are those of
        `DeepSVDD`.

    Example:
      >>> import numpy as np
      >>> from jaxad import GOAD
      >>> X = np.random.default_rng(0).normal(size=(300, 6))
      >>> GOAD(n_transforms=8, epochs=2, random_state=0).fit(X).anomaly_score(X).shape
      (300,)
    """

    _networks = ("mlp", "wide_resnet")

    def __init__(
        self,
        *,
        network: Any = "mlp",
        n_transforms: int = 32,
        transform_dim: int = 32,
        hidden: tuple[int, ...] = (64,),
        latent_dim: int = 32,
        resnet_depth: int = 10,
        resnet_width: int = 4,
        shift: int | None = None,
        margin: float = 1.0,
        triplet_weight: float = 0.1,
        epsilon: float = 1e-6,
        map_scale: float = 1.0,
        map_offset: float = 1.0,
        reconstruction_weight: float = 0.0,
        epochs: int | str = "auto",
        batch_size: int = 128,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        milestones: tuple[int, ...] = (),
        clip_norm: float | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        n_members: int | str = "auto",
        combine: str = "auto",
        scaler: str = "auto",
        contamination: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ):
        self.network = network
        self.n_transforms = n_transforms
        self.transform_dim = transform_dim
        self.hidden = hidden
        self.latent_dim = latent_dim
        self.resnet_depth = resnet_depth
        self.resnet_width = resnet_width
        self.shift = shift
        self.margin = margin
        self.triplet_weight = triplet_weight
        self.epsilon = epsilon
        self.map_scale = map_scale
        self.map_offset = map_offset
        self.reconstruction_weight = reconstruction_weight
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.milestones = milestones
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_members = n_members
        self.combine = combine
        self.scaler = scaler
        self.contamination = contamination
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_positive_int("n_transforms", self.n_transforms)
        if self.n_transforms < 2:
            raise ValueError(
                f"n_transforms={self.n_transforms}: there must be at least 2 to tell apart"
            )
        check_positive_int("transform_dim", self.transform_dim)
        for name in ("margin", "triplet_weight", "reconstruction_weight"):
            check_interval(name, getattr(self, name), 0, math.inf, closed="left")
        check_interval("map_offset", self.map_offset, 0, math.inf, closed="left")
        for name in ("epsilon", "map_scale"):
            check_interval(name, getattr(self, name), 0, math.inf, closed="neither")
        for name in ("resnet_depth", "resnet_width", "shift"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))
        try:
            check_sizes(self.resnet_depth, self.resnet_width)
        except ValueError as error:  # speaks of the network's "depth"
            raise ValueError(f"resnet_{error}") from None

    def _takes_images(self, X: Any) -> bool:
        return self.network == "wide_resnet" or super()._takes_images(X)

    def _check_rows(self, x: np.ndarray) -> None:
        if x.ndim == 2:
            return
        check_shift(x.shape[1], x.shape[2], self.shift)
        if self.reconstruction_weight:
            raise ValueError(
                f"reconstruction_weight={self.reconstruction_weight}: only a table's rows are "
                "reconstructed; leave it 0 for images"
            )

    def _steps(self, rows: int) -> int:
        return 300

    def _objective(self, shape: tuple[int, ...], count: int) -> Objective:
        numbers: dict[str, Any] = {
            "margin": self.margin,
            "triplet_weight": self.triplet_weight,
            "epsilon": self.epsilon,
        }
        trunk = self._trunk()
        if len(shape) > 1:
            return objectives.ImageGOAD(trunk, shift=self.shift, **numbers)
        maps = {
            "n_transforms": self.n_transforms,
            "transform_dim": self.transform_dim,
            "map_scale": self.map_scale,
            "map_offset": self.map_offset,
        }
        objective = objectives.GOAD(trunk, **numbers, **maps)
        if not self.reconstruction_weight:
            return objective
        decoder = MLP((*reversed(self.hidden), self.transform_dim))
        part = objectives.MapReconstruction(trunk, decoder, **maps)
        return objectives.Compound((objective, part), (1.0, self.reconstruction_weight))

    def _trunk(self) -> Any:
        if self.network == "wide_resnet":
            return WideResNet(self.resnet_depth, self.resnet_width)
        return build.encoder(self.network, hidden=self.hidden, latent_dim=self.latent_dim)

    def _collapse(self, x, score, stats) -> str | None:
        if self.network == "mlp" and not self.hidden:
            return (
                "the trunk is linear (hidden=()), so on standardised rows every class centre is 0 "
                "and the maps cannot be told apart: give it a hidden layer"
            )
        return super()._collapse(x, score, stats)
