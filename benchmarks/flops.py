"""How many floating-point operations a training step needs, counted from the layers' widths.

Only matrix products count, a multiplication and an addition each: biases, activations, losses and
the optimizer are left out, so a share of a machine's peak is never flattered by them.
"""

from collections.abc import Sequence


def forward(widths: Sequence[int], rows: int) -> int:
    """Of dense layers ``widths[0] -> widths[1] -> ...`` applied to so many rows.

    Example:
      >>> forward((30, 128, 64, 32), rows=128)
      3604480
    """
    return sum(_layers(widths, rows))


def training_step(widths: Sequence[int], rows: int, *, input_gradient: bool = False) -> int:
    """Forward, the gradients of the weights, and those of every layer's inputs.

    The first layer's inputs are data, which need none, unless ``input_gradient`` asks for it: where
    another network comes before this one.

    Example:
      >>> training_step((30, 128, 64, 32), rows=128)
      9830400
      >>> training_step((30, 128, 64, 32), rows=128, input_gradient=True)
      10813440
    """
    layers = _layers(widths, rows)
    return 3 * sum(layers) - (0 if input_gradient else layers[0])


def _layers(widths: Sequence[int], rows: int) -> list[int]:
    if len(widths) < 2:
        raise ValueError(f"widths={tuple(widths)}: a layer needs inputs and outputs")
    return [2 * rows * a * b for a, b in zip(widths[:-1], widths[1:], strict=True)]
