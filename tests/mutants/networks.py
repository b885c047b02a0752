"""Mutants of the networks: initial weights, dropout, batch normalisation, metrics of weights."""

from tests.mutants.mutant import of

_DENSE = ("tests/test_survivors.py", "tests/networks/test_networks.py")
_NORMALIZATION = ("tests/networks/test_networks.py",)

MUTANTS = [
    *of(
        "jaxad/networks/dense.py",
        (
            "tests/test_survivors.py::test_dropout_keeps_the_mean_and_kernels_are_drawn_by_their_inputs",
            *_DENSE,
        ),
        (
            "bound = math.prod(shape[:-1]) ** -0.5",
            "bound = shape[-1] ** -0.5",
            "kernels are drawn by their outputs, not by their inputs",
        ),
        (
            'jnp.where(bernoulli(self.make_rng("dropout"), keep, x.shape), x / keep, 0)',
            'jnp.where(bernoulli(self.make_rng("dropout"), keep, x.shape), x, 0)',
            "what dropout leaves is not scaled up",
        ),
        (
            "x = Dropout(self.input_dropout)(x, train=train)",
            "x = Dropout(0.0)(x, train=train)",
            "dropout of the input is not used",
        ),
    ),
    *of(
        "jaxad/networks/dense.py",
        _DENSE,
        (
            "x = Dropout(self.dropout)(activation(x), train=train)",
            "x = Dropout(self.dropout)(activation(x), train=True)",
            "units are dropped in evaluation",
        ),
        (
            "x = ACTIVATIONS[self.output_activation](leave(x))",
            "x = leave(x)",
            "the activation of the output is not used",
        ),
        (
            "bias = None if bias is None else jnp.pad(bias, (0, padding))",
            "bias = None if bias is None else jnp.pad(bias, (padding, 0))",
            "biases of padded layers are shifted",
        ),
    ),
    *of(
        "jaxad/networks/normalization.py",
        _NORMALIZATION,
        (
            "share = weight / (jnp.maximum(jnp.sum(weight), 1e-12) * positions)",
            "share = jnp.ones_like(weight) / (len(weight) * positions)",
            "rows of weight 0 count in the statistics of a batch",
        ),
        (
            "batch_variance = spread - jnp.square(batch_mean - point)",
            "batch_variance = spread + 0 * jnp.square(batch_mean - point)",
            "the variance's gradient lacks the part of the mean",
        ),
        (
            "mean.value = keep * mean.value + (1 - keep) * batch_mean",
            "mean.value = (1 - keep) * mean.value + keep * batch_mean",
            "running means forget quickly",
        ),
        (
            "scale = lax.rsqrt(batch_variance + self.epsilon)",
            "scale = lax.rsqrt(batch_variance + 1e-5)",
            "epsilon is another than the given one",
        ),
        (
            "batch_mean, batch_variance = mean.value, variance.value",
            "batch_mean, batch_variance = jnp.mean(x, 0), jnp.var(x, 0)",
            "evaluation normalises by the batch, so rows depend on those beside them",
        ),
    ),
    *of(
        "jaxad/networks/modules.py",
        _NORMALIZATION,
        (
            "between = share * (1 - share) * jnp.square(shift)",
            "between = share * jnp.square(shift)",
            "the calibrated variance weighs the difference of means wrongly",
        ),
        (
            "method=functools.partial(call, train=False))",
            'method=functools.partial(call, train=True), rngs={"dropout": jax.random.key(0)})',
            "evaluation is in training mode",
        ),
        (
            "if not isinstance(base, dict):\n        return new",
            "if not isinstance(base, dict):\n        return base",
            "calibrated statistics are thrown away",
        ),
    ),
    *of(
        "jaxad/networks/modules.py",
        ("tests/networks/test_networks.py::test_the_key_draws_the_units_that_are_dropped",),
        (
            'rngs={"dropout": key},',
            'rngs={"dropout": jax.random.key(0)},',
            "dropout draws the same units in every step",
        ),
    ),
]
