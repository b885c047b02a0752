"""GOAD as a scikit-learn estimator."""

from typing import Any

from jaxad import objectives
from jaxad.checks import AT_LEAST_ZERO, POSITIVE, Choice, Special, Whole
from jaxad.estimators.base import argument
from jaxad.estimators.own_loss import LossDetector
from jaxad.networks import WideResNet, build, check_shift
from jaxad.networks.types import TYPES
from jaxad.networks.wide_resnet import check_sizes
from jaxad.typing import Objective


class GOAD(LossDetector):
    """Classification-based anomaly detection (Bergman & Hoshen, ICLR 2020).

    A network learns to classify which of M random affine maps of a table's row, or which of 72
    geometric transforms of a square image, is shown. Rows whose transforms it confuses are
    anomalous. Train on mostly normal rows; labels are not used.

    The network sees every image 72 times: choose a small ``batch_size``, and without an accelerator
    a small ``resnet_width`` and few rows. The time grows with the square of ``resnet_width``, and
    fewer images than ``batch_size`` take as long as that many.

    Args:
      network: ``"mlp"`` for tables, ``"wide_resnet"`` for images, or a Flax module that takes
        transformed rows or images.
      n_transforms: M, at least 2, for tables; images have 72.
      transform_dim: r, the length of a table's mapped rows.
      hidden: hidden widths of the MLP. Without hidden layers it is linear, and all scores of
        standardised rows are nearly equal (with a warning).
      latent_dim: L of the MLP; the residual network has ``64 * resnet_width``.
      dtype: what the network computes in, see `DeepSVDD`.
      resnet_depth: depth of the residual network: 10, 16, 22, ...
      resnet_width: factor of the residual network's channels.
      shift: pixels by which images are shifted; None is a quarter of the side.
      margin: margin of the triplet-centre loss.
      triplet_weight: weight of the triplet-centre loss, the paper's lambda.
      epsilon: the smallest squared distance in the score's probabilities.
      map_scale: standard deviation of the maps' entries; 1 in the paper.
      map_offset: standard deviation of the maps' offsets, relative to a mapped standardised row.
        With 0 the maps are linear. Rows far from the mean are then the easiest to classify, so
        training can make anomalies look normal.
      reconstruction_weight: weight, in loss and score, of reconstructing every mapped row from its
        latent vector; 0 turns it off. For tables only.
      loss: a loss of your own, or None for the paper's. A function of any of ``z`` ``[B, M, L]``,
        ``centres`` ``[M, L]``, ``logits`` ``[B, M, M]``, ``margin``, ``triplet_weight`` and its own
        ``loss_numbers``, matched by name; it returns ``[B]``.
      loss_numbers: numbers of ``loss`` by name, see `DeepSVDD`.
      epochs: a number, or ``"auto"``: about 300 steps, from 1 to 200 epochs. 0 leaves the
        networks untrained (a control).
      scaler: see `DeepSVDD`. Scaled images must have pixels in [0, 1], as with ``"auto"``; the
        network gets them in [-1, 1].
      **others: the other arguments of `Detector`; see `DeepSVDD`, also for fitted attributes.

    Example:
      >>> import numpy as np
      >>> from jaxad import GOAD
      >>> X = np.random.default_rng(0).normal(size=(300, 6))
      >>> GOAD(n_transforms=8, epochs=2, random_state=0).fit(X).anomaly_score(X).shape
      (300,)
    """

    network: Any = "mlp"
    n_transforms: int = argument(32, Whole())
    transform_dim: int = argument(32, Whole())
    hidden: tuple[int, ...] = (64,)
    latent_dim: int = 32
    dtype: Any = argument("float32", Choice(TYPES))
    resnet_depth: int = argument(10, Whole())
    resnet_width: int = argument(4, Whole())
    shift: int | None = argument(None, Special(None, Whole()))
    margin: float = argument(1.0, AT_LEAST_ZERO)
    triplet_weight: float = argument(0.1, AT_LEAST_ZERO)
    epsilon: float = argument(1e-6, POSITIVE)
    map_scale: float = argument(1.0, POSITIVE)
    map_offset: float = argument(1.0, AT_LEAST_ZERO)
    reconstruction_weight: float = argument(0.0, AT_LEAST_ZERO)

    _networks = ("mlp", "wide_resnet")
    _passed = LossDetector._passed | {
        *("trunk", "z", "centres", "logits", "margin", "triplet_weight", "epsilon", "shift"),
        *("n_transforms", "transform_dim", "map_scale", "map_offset"),
    }

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_transforms < 2:
            raise ValueError(
                f"n_transforms={self.n_transforms}: there must be at least 2 to tell apart"
            )
        try:
            check_sizes(self.resnet_depth, self.resnet_width)
        except ValueError as error:  # its message names "depth" or "width"
            raise ValueError(f"resnet_{error}") from None

    def _takes_images(self, X: Any) -> bool:
        return self._is_named("wide_resnet") or super()._takes_images(X)

    def _is_named(self, name: str) -> bool:
        return isinstance(self.network, str) and self.network == name

    def _check_rows(self, shape: tuple[int, ...], count: int) -> None:
        if len(shape) == 1:
            return
        check_shift(shape[0], shape[1], self.shift)
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
        numbers |= self._loss(None)
        trunk = self._trunk()
        if len(shape) > 1:
            return objectives.image_goad(trunk, shift=self.shift, **numbers)
        maps = {
            "n_transforms": int(self.n_transforms),
            "transform_dim": int(self.transform_dim),
            "map_scale": self.map_scale,
            "map_offset": self.map_offset,
        }
        objective = objectives.goad(trunk, **numbers, **maps)
        if not self.reconstruction_weight:
            return objective
        options = {"hidden": self.hidden, "dtype": self.dtype}
        decoder = build.decoder("mlp", (int(self.transform_dim),), **options)
        part = objectives.MapReconstruction(trunk, decoder, **maps)
        return objectives.Compound((objective, part), (1.0, self.reconstruction_weight))

    def _trunk(self) -> Any:
        if self._is_named("wide_resnet"):
            return WideResNet(self.resnet_depth, self.resnet_width, self.dtype)
        sizes = {"hidden": self.hidden, "latent_dim": self.latent_dim}
        return build.encoder(self.network, **sizes, dtype=self.dtype)

    def _collapse(self, rows, score, stats) -> str | None:
        if self._is_named("mlp") and self.hidden is not None and not len(self.hidden):
            return (
                "the trunk is linear (hidden=()), so on standardised rows every class centre is 0 "
                "and the maps cannot be told apart: give it a hidden layer"
            )
        return super()._collapse(rows, score, stats)
