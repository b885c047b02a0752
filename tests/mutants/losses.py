"""Mutants of the losses: signs, axes, masks, floors and gradients of formulas."""

from tests.mutants.mutant import of

_HYPERSPHERE = ("tests/losses/test_hypersphere.py",)
_MIXTURE = ("tests/losses/test_mixture.py",)
_RECONSTRUCTION = ("tests/losses/test_reconstruction.py",)
_TRANSFORMATION = ("tests/losses/test_transformation.py",)
_CONTRASTIVE = ("tests/losses/test_contrastive.py",)

MUTANTS = [
    *of(
        "jaxad/losses/hypersphere.py",
        _HYPERSPHERE,
        (
            "jnp.sum(jnp.square(z - centre[None, :]), axis=-1)",
            "jnp.mean(jnp.square(z - centre[None, :]), axis=-1)",
            "the squared distance is a mean over the latent dimensions",
        ),
        (
            "squared_radius + jax.nn.relu(distance - squared_radius) / nu",
            "squared_radius + jax.nn.relu(distance - squared_radius) * nu",
            "the soft boundary multiplies by nu",
        ),
        (
            "jax.nn.relu(distance - squared_radius) / nu",
            "jax.nn.relu(distance - radius) / nu",
            "the soft boundary compares squared distances with the radius",
        ),
        (
            "jnp.where(negligible, 0, jnp.where(negligible, 1, distance) ** exponent)",
            "jnp.where(negligible, 0, distance**exponent)",
            "a power below 1 has no finite gradient at distance 0",
        ),
        (
            "jnp.sqrt(1 + distance / jnp.square(delta)) + 1",
            "jnp.sqrt(1 + distance / delta) + 1",
            "the pseudo-Huber loss divides by delta, not by its square",
        ),
        (
            "jnp.where(label < 0, distance + epsilon, 1)",
            "jnp.where(label < 0, distance, 1)",
            "a known anomaly at the centre has an infinite loss",
        ),
        (
            "anomalous = -_log_one_minus_exp(h)",
            "anomalous = _log_one_minus_exp(h)",
            "known anomalies are pulled to the centre by the classifier loss",
        ),
        (
            "jnp.sum(weight * jnp.where(weight > 0, z, 0), axis=0)",
            "jnp.sum(weight * z, axis=0)",
            "a NaN in a row of weight 0 reaches the centre",
        ),
        (
            "jnp.where(centre < 0, -minimum, minimum)",
            "jnp.where(centre < 0, minimum, -minimum)",
            "coordinates of the centre near 0 change sides",
        ),
        (
            "values, weight, q = lax.stop_gradient((values, weight, q))",
            "values, weight, q = values, weight, q",
            "the quantile lets gradients through, or tries to",
        ),
        (
            "position = jnp.maximum(q * (total - 1), 0)",
            "position = jnp.maximum(q * total, 0)",
            "the quantile is off by one row",
        ),
        (
            "keys = _key(jnp.where(live, values, jnp.inf))",
            "keys = _key(values)",
            "values of weight 0 take part in the search for the quantile",
        ),
        (
            "share = 1 - jnp.clip(weight_below(following) - position, 0, 1)",
            "share = jnp.clip(weight_below(following) - position, 0, 1)",
            "the quantile interpolates from the wrong side",
        ),
        (
            "weighted_quantile(safe_sqrt(lax.stop_gradient(distance)), weight, 1 - nu)",
            "weighted_quantile(safe_sqrt(lax.stop_gradient(distance)), weight, nu)",
            "the radius leaves 1 - nu of the rows outside",
        ),
        (
            "jnp.where(negligible, 0, jnp.sqrt(jnp.where(negligible, 1, x)))",
            "jnp.where(negligible, 0, jnp.sqrt(x))",
            "the root has no finite gradient at 0",
        ),
    ),
    *of(
        "jaxad/losses/sad.py",
        ("tests/losses/test_sad.py",),
        (
            "labelled = eta * jnp.where(label < 0, repelled, shifted)",
            "labelled = eta * jnp.where(label > 0, repelled, shifted)",
            "known normals are pushed away and known anomalies pulled in",
        ),
        (
            "jnp.where(label == 0, distance, labelled)",
            "jnp.where(label == 0, shifted, labelled)",
            "unlabelled rows get epsilon, too",
        ),
        (
            "(1 / jnp.where(label < 0, shifted, 1)) ** exponent",
            "(1 / shifted) ** exponent",
            "the anomalies' term is computed of other rows, whose gradient may be infinite",
        ),
    ),
    *of(
        "jaxad/losses/mixture.py",
        _MIXTURE,
        (
            "mass = gamma.T * weight[None]",
            "mass = gamma.T * jnp.ones_like(weight)[None]",
            "rows of weight 0 count in the mixture",
        ),
        (
            'jnp.einsum("kib,kjb->kij", mass[:, None] * deviation, deviation',
            'jnp.einsum("kib,kjb->kij", share[:, None] * deviation, deviation',
            "the scatter is a mean, not a sum",
        ),
        (
            "share = b.count / jnp.maximum(count, _MASS_FLOOR)",
            "share = a.count / jnp.maximum(count, _MASS_FLOOR)",
            "merged means are weighted by the other part",
        ),
        (
            "a.scatter + b.scatter + between",
            "a.scatter + b.scatter",
            "merged moments forget that the means differ",
        ),
        (
            "jnp.where(alive, jnp.log(jnp.where(alive, share, 1)), _NO_MASS)",
            "jnp.where(alive, jnp.log(share), _NO_MASS)",
            "an empty component makes the gradient NaN",
        ),
        (
            "covariance = covariance + ridge[:, None, None] * identity",
            "covariance = covariance + ridge[:, None, None]",
            "the jitter is added to the covariances, too, not to the variances alone",
        ),
        (
            "log_det = 2 * jnp.sum(jnp.log(_diagonal(factor)), -1)",
            "log_det = jnp.sum(jnp.log(_diagonal(factor)), -1)",
            "the determinant is that of the factor",
        ),
        (
            "constant = mixture.log_det + z.shape[1] * math.log(2 * math.pi)",
            "constant = mixture.log_det + math.log(2 * math.pi)",
            "the Gaussian's constant has one dimension",
        ),
        (
            "-jsp.special.logsumexp(mixture.log_weight[:, None] - 0.5 * exponent, axis=0)",
            "-jsp.special.logsumexp(-0.5 * exponent, axis=0)",
            "the energy ignores the components' shares",
        ),
        (
            "jnp.sum(jnp.where(alive[:, None], 1 / mixture.variance, 0))",
            "jnp.sum(1 / mixture.variance)",
            "empty components are penalised",
        ),
        (
            "return times[jnp.argmax(sound.at[-1].set(True), 0)]",
            "return times[0 * jnp.argmax(sound.at[-1].set(True), 0)]",
            "the jitter never grows where the factorisation fails",
        ),
    ),
    *of(
        "jaxad/losses/reconstruction.py",
        _RECONSTRUCTION,
        (
            "x * dr + r * dx, (x - r) * (dx - dr))",
            "x * dr + r * dx, (x - r) * (dx + dr))",
            "the written derivative of the error has a wrong sign",
        ),
        (
            "jnp.diag(jnp.asarray([2, 2, 1, 2], x.dtype))",
            "jnp.diag(jnp.asarray([2, 2, 2, 2], x.dtype))",
            "the written derivative of the product is twice too large",
        ),
        (
            "return safe_sqrt(sums.error) / _divisor(sums.x)",
            "return safe_sqrt(sums.error) / _divisor(sums.reconstruction)",
            "the relative error is relative to the reconstruction",
        ),
        (
            "return jnp.where(length > 0, length, 1)",
            "return length",
            "a row of zeros has no finite features",
        ),
        (
            'entries = math.prod(x.shape[1:]) if reduction == "mean" else 1',
            'entries = len(x) if reduction == "mean" else 1',
            "the mean error divides by the rows",
        ),
    ),
    *of(
        "jaxad/losses/transformation.py",
        _TRANSFORMATION,
        (
            'jnp.tensordot(weight / total, z, 1, precision="highest")',
            "jnp.mean(z, 0)",
            "rows of weight 0 count in the class centres",
        ),
        (
            "origin = lax.stop_gradient(jnp.mean(centres, 0))",
            "origin = lax.stop_gradient(0 * jnp.mean(centres, 0))",
            "distances far from the origin lose their digits",
        ),
        (
            "jnp.maximum(length - 2 * product + jnp.sum(jnp.square(centres), -1)[None, None], 0)",
            "length - 2 * product + jnp.sum(jnp.square(centres), -1)[None, None]",
            "squared distances may be negative",
        ),
        (
            "jnp.mean(jnp.maximum(own + margin - jnp.min(others, -1), 0), -1)",
            "jnp.mean(jnp.maximum(own + margin - jnp.mean(others, -1), 0), -1)",
            "the triplet loss compares with the mean of the other centres",
        ),
        (
            "return jnp.mean(surprise(*_own_and_others(logits, -jnp.inf)), -1)",
            "return jnp.mean(surprise(*_own_and_others(logits.swapaxes(1, 2), -jnp.inf)), -1)",
            "the cross-entropy normalises over the wrong axis",
        ),
        (
            "distances = jnp.clip(distances, epsilon, jnp.finfo(distances.dtype).max)",
            "distances = jnp.clip(distances, 0 * epsilon, jnp.finfo(distances.dtype).max)",
            "the score ignores epsilon",
        ),
        (
            "return jnp.sum(surprise(-own, -others), -1)",
            "return jnp.sum(surprise(own, others), -1)",
            "rows that are easy to classify score as anomalies",
        ),
        (
            "return triplet_weight * triplet + entropy",
            "return triplet + triplet_weight * entropy",
            "the weight goes to the other term",
        ),
        (
            "return z_gradient * cotangent[:, None, None], shared_gradient",
            "return z_gradient, shared_gradient",
            "the backward pass ignores the weights of rows",
        ),
        (
            "jnp.where(diagonal, fill, matrices)",
            "jnp.where(diagonal, 0, matrices)",
            "the own centre is the nearest of the others",
        ),
    ),
    *of(
        "jaxad/losses/contrastive.py",
        _CONTRASTIVE,
        (
            "logits = similarity / temperature",
            "logits = similarity * temperature",
            "similarities are multiplied by the temperature",
        ),
        (
            "others = jnp.where(own, -jnp.inf, others)",
            "others = jnp.where(own, others, others)",
            "views are compared with themselves",
        ),
        (
            "return z / jnp.where(length > 0, length, 1)",
            "return z / length",
            "a vector of length 0 makes the loss NaN",
        ),
    ),
    *of(
        "jaxad/losses/score_matching.py",
        ("tests/losses/test_score_matching.py",),
        (
            "jnp.sum(jnp.square(score + noise), range(1, score.ndim)) / 2",
            "jnp.sum(jnp.square(score - noise), range(1, score.ndim)) / 2",
            "the network learns the noise with the wrong sign",
        ),
        (
            "scale * (1 + slope * (kurtosis - 3))",
            "scale * (1 + slope * kurtosis)",
            "normal features get more than the given noise",
        ),
    ),
    *of(
        "jaxad/losses/diffusion_time.py",
        ("tests/losses/test_diffusion_time.py",),
        (
            "jnp.sqrt(-jnp.expm1(jnp.cumsum(jnp.log1p(-betas))))",
            "-jnp.expm1(jnp.cumsum(jnp.log1p(-betas)))",
            "noise levels are variances",
        ),
        (
            "return log_mean(place) - log_mean(place[::-1])",
            "return log_mean(place[::-1]) - log_mean(place)",
            "rows without noise score highest",
        ),
    ),
    *of(
        "jaxad/losses/mixture.py",
        ("tests/losses/test_mixture.py",),
        (
            "covariance = jnp.where(alive[:, None, None], covariance, identity)",
            "covariance = covariance + 0 * identity",
            "an empty component keeps its singular covariance",
        ),
    ),
]
