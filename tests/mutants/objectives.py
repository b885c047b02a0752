"""Mutants of the objectives and of what wraps them."""

from tests.mutants.mutant import of

_CENTRE = ("tests/objectives/test_objectives.py", "tests/objectives/test_contract.py")
_HELD = ("tests/test_survivors.py", "tests/objectives/test_objectives.py")
_WRAPPERS = ("tests/objectives/test_wrappers.py",)
_PADDED = ("tests/objectives/test_padded.py",)

MUTANTS = [
    *of(
        "jaxad/objectives/views.py",
        ("tests/test_survivors.py::test_goads_maps_have_offsets_of_their_scale", *_HELD),
        (
            'jnp.einsum("bd,dmr->bmr", x, stats["maps"]) + stats["offsets"][None]',
            'jnp.einsum("bd,dmr->bmr", x, stats["maps"])',
            "the offsets of the maps are not used",
        ),
        (
            "spread = self.offset * self.scale * math.sqrt(x.shape[1])",
            "spread = self.offset * self.scale",
            "the offsets of the maps have the scale of an entry",
        ),
    ),
    *of(
        "jaxad/objectives/svdd.py",
        _CENTRE,
        (
            'jnp.where(batch.epoch >= self.warm_up, radius, stats["radius"])',
            'jnp.where(batch.epoch > self.warm_up, radius, stats["radius"])',
            "the radius moves an epoch late",
        ),
        (
            "centre = hypersphere.away_from_zero(mean, minimum=self.minimum_centre)",
            "centre = mean",
            "coordinates of the centre near 0 stay there",
        ),
        (
            "rows.reweigh(lambda batch: jnp.where(batch.label < 0, 0, batch.weight))",
            "rows.reweigh(lambda batch: jnp.where(batch.label > 0, 0, batch.weight))",
            "known anomalies count for the centre, and known normals do not",
        ),
        (
            "anomalies_in_centre=True,\n        chunk=chunk,\n        radius=radius,",
            "anomalies_in_centre=True,\n        chunk=chunk,\n        radius=False,",
            "a soft boundary has no radius",
        ),
    ),
    *of(
        "jaxad/objectives/wrappers.py",
        _WRAPPERS,
        (
            "lax.stop_gradient(_model(params, stats))",
            "_model(params, stats)",
            "a gradient flows into the teacher",
            "the teacher's losses only enter comparisons, which have no gradient, and "
            "statistics, which are not differentiated",
        ),
        (
            "keep * old + (1 - keep) * new",
            "(1 - keep) * old + keep * new",
            "the teacher forgets quickly",
        ),
        (
            "scale = jnp.where(self.share > 0, whole / jnp.maximum(left, 1e-12), 1)",
            "scale = 1.0",
            "the loss of a trimmed batch is too small",
        ),
        (
            "return (batch.label == 0) & (values > _limit(",
            "return (values > _limit(",
            "rows with a known label are trimmed",
        ),
        (
            "kept = self._without_highest(params, ready, rows)\n        return _fit",
            "kept = rows\n        return _fit",
            "the exact statistics see the rows that trimming leaves out",
        ),
        (
            "suspicious = _are_highest(normal - anomaly, batch, self.share)",
            "suspicious = _are_highest(anomaly - normal, batch, self.share)",
            "the least suspicious rows are taken for anomalies",
        ),
        (
            "instead = (normal + anomaly) / 2 if self.soft else anomaly",
            "instead = (normal + anomaly) if self.soft else anomaly",
            "soft suspicious rows count twice",
        ),
        (
            "anomalous = jnp.where(batch.label == 0, -1, batch.label)",
            "anomalous = -jnp.ones_like(batch.label)",
            "known normals may be taken for anomalies",
        ),
        (
            "batch = batch._replace(x=batch.x + self.noise * noise)",
            "batch = batch._replace(x=batch.x + noise)",
            "the amount of noise is not used",
        ),
        (
            "size = jnp.maximum(jnp.round(self.share * features), 1)",
            "size = jnp.round(self.share * features)",
            "a bag may have no feature",
        ),
        (
            "return self.objective.score(params, stats, _seen(stats, x))",
            "return self.objective.score(params, stats, x)",
            "scores see features outside the bag",
        ),
    ),
    *of(
        "jaxad/objectives/padding.py",
        _PADDED,
        (
            "leaf * scale if grows else leaf",
            "leaf",
            "the first layer is drawn for the padded width",
        ),
        (
            'stats["offsets"] * jnp.sqrt(self.features / width)',
            'stats["offsets"] * jnp.sqrt(width / self.features)',
            "offsets of the maps grow with the padding",
        ),
        (
            "(jnp.arange(width) < self.features).astype(jnp.float32)",
            "(jnp.arange(width) <= self.features).astype(jnp.float32)",
            "a column of padding is real",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        (
            "tests/objectives/test_objectives.py::test_dagmms_loss_is_the_papers_with_its_gradient",
            "tests/test_defects.py",
            "tests/test_mended.py",
        ),
        (
            "energy, penalty = mixture.energy(z, own), mixture.covariance_penalty(own)",
            "energy = mixture.energy(jax.lax.stop_gradient(z), own)\n"
            "        penalty = mixture.covariance_penalty(own)",
            "the energy has no gradient of the rows, only of the mixture",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        (
            "tests/objectives/test_objectives.py::test_dagmms_loss_is_the_papers_with_its_gradient",
            "tests/test_defects.py",
            "tests/test_mended.py",
        ),
        (
            "self.lambda_energy * energy + self.lambda_covariance * penalty",
            "self.lambda_energy * energy - self.lambda_covariance * penalty",
            "small variances are rewarded",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        (
            "tests/objectives/test_objectives.py::test_dagmms_loss_is_the_papers_with_its_gradient",
            "tests/test_defects.py",
            "tests/test_mended.py",
        ),
        (
            'if pooled := stats.get("pooled_mixture"):',
            'if pooled := stats.get("mixture"):',
            "training uses the old mixture of all rows, not the batch's",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        (
            "tests/objectives/test_objectives.py::test_dagmms_loss_is_the_papers_with_its_gradient",
            "tests/test_defects.py",
            "tests/test_mended.py",
        ),
        (
            "return output, error, z, jax.nn.softmax(logits), pair",
            "return output, error, z, jax.nn.softmax(logits, 0), pair",
            "responsibilities sum to 1 over rows, not over components",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        ("tests/test_defects.py",),
        (
            "mixture.merge_moments(moments, mixture.moments(z, gamma, batch.weight))",
            "mixture.moments(z, gamma, batch.weight)",
            "the mixture for scores is that of the last chunk",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        ("tests/test_defects.py",),
        (
            "return mixture.fit(found, jitter=self.jitter)._asdict()",
            "return mixture.fit(found)._asdict()",
            "the mixture for scores has the default jitter",
        ),
    ),
    *of(
        "jaxad/objectives/dagmm.py",
        ("tests/test_mended.py",),
        (
            'return stats["mixture"]["mean"].shape[-1] + 1',
            "return 1",
            "a batch may have fewer rows than its mixture has dimensions",
        ),
    ),
    *of(
        "jaxad/objectives/base.py",
        ("tests/test_mended.py",),
        (
            'return 2 if jax.tree.leaves(stats.get("batch_stats", {})) else 1',
            "return 1",
            "batch normalisation may see a single row",
        ),
    ),
    *of(
        "jaxad/objectives/view_classifier.py",
        (
            "tests/objectives/test_objectives.py::test_goads_loss_is_the_papers_with_its_gradient",
            "tests/objectives/test_objectives.py",
        ),
        (
            'centres, head = stats.get("pooled_centres"), params["head"]["kernel"]',
            'centres, head = stats["centres"], params["head"]["kernel"]',
            "training uses the old centres of all rows, not the batch's",
        ),
    ),
    *of(
        "jaxad/objectives/view_classifier.py",
        (
            "tests/objectives/test_objectives.py::test_goads_loss_is_the_papers_with_its_gradient",
            "tests/objectives/test_objectives.py",
        ),
        (
            "transformation.class_centres(z, batch.weight)",
            "jax.lax.stop_gradient(transformation.class_centres(z, batch.weight))",
            "no gradient flows through the class centres",
        ),
    ),
    *of(
        "jaxad/objectives/view_classifier.py",
        (
            "tests/objectives/test_objectives.py::test_goads_centres_are_the_means_of_all_rows",
            "tests/objectives/test_objectives.py",
        ),
        (
            "return rows.mean(encode, chunk=self.chunk)",
            'return rows.mean(encode, chunk=self.chunk) + 0 * stats["centres"][::-1] + 1',
            "class centres are shifted",
        ),
    ),
    *of(
        "jaxad/objectives/view_classifier.py",
        (
            "tests/objectives/test_objectives.py::test_every_map_has_a_decoder_of_its_own",
            "tests/objectives/test_objectives.py",
        ),
        (
            "keys = jax.random.split(decoder_key, self.n_transforms)",
            "keys = jnp.stack([decoder_key] * self.n_transforms)",
            "the decoders of all maps begin with the same weights",
        ),
    ),
    *of(
        "jaxad/objectives/views.py",
        (
            "tests/test_survivors.py::test_goads_maps_have_offsets_of_their_scale",
            "tests/test_survivors.py",
        ),
        (
            "first, second = jax.random.split(key)",
            "first = second = key",
            "maps and offsets are drawn with one key",
        ),
    ),
    *of(
        "jaxad/objectives/reconstruction.py",
        (
            "tests/objectives/test_objectives.py::test_a_denoising_autoencoder_reconstructs_the_clean_rows",
            "tests/objectives/test_objectives.py",
        ),
        (
            "return self._values(clean, real(stats, output), z)",
            "return self._values(x, real(stats, output), z)",
            "the target of a denoising autoencoder is noisy",
        ),
    ),
    *of(
        "jaxad/objectives/reconstruction.py",
        (
            "tests/objectives/test_objectives.py::test_a_denoising_autoencoder_reconstructs_the_clean_rows",
            "tests/objectives/test_objectives.py",
        ),
        (
            "if key is not None and self.noise is not None:",
            "if self.noise is not None:\n            key = jax.random.key(0)",
            "validation is noisy, and all steps have the same noise",
        ),
    ),
    *of(
        "jaxad/objectives/reconstruction.py",
        ("tests/estimators/test_explanations.py",),
        (
            "error / x[0].size if mean else error",
            "error",
            "contributions to a mean error are those to a sum",
        ),
    ),
    *of(
        "jaxad/objectives/svdd.py",
        (
            "tests/objectives/test_objectives.py::test_known_anomalies_stay_out_of_the_radius_where_they_stay_out_of_the_centre",
            "tests/objectives/test_objectives.py",
        ),
        (
            "distance, weight = self._normals(rows).values(distance_of, chunk=self.chunk)",
            "distance, weight = rows.values(distance_of, chunk=self.chunk)",
            "known anomalies count in the exact radius",
        ),
    ),
    *of(
        "jaxad/objectives/svdd.py",
        (
            "tests/objectives/test_contract.py::test_padding_rows_change_neither_loss_nor_gradient_nor_statistics",
            "tests/objectives/test_contract.py",
        ),
        (
            "radius = hypersphere.radius(distance, batch.weight, nu=self.nu)",
            "radius = hypersphere.radius(distance, jnp.ones_like(batch.weight), nu=self.nu)",
            "padding rows count in the radius of a batch",
        ),
    ),
    *of(
        "jaxad/objectives/svdd.py",
        (
            "tests/objectives/test_contract.py::test_evaluation_changes_no_statistics",
            "tests/objectives/test_contract.py",
        ),
        (
            "if key is None:\n            return values, stats",
            "if False:\n            return values, stats",
            "evaluation moves the radius",
        ),
    ),
    *of(
        "jaxad/objectives/base.py",
        ("tests/objectives/test_padded.py",),
        (
            'return values * stats["real"] if "real" in stats else values',
            "return values",
            "noise and reconstructions reach columns of padding",
        ),
    ),
    *of(
        "jaxad/objectives/view_classifier.py",
        ("tests/objectives/test_goad_images.py",),
        (
            "weight=None if weight is None else jnp.repeat(weight, views.count),",
            "weight=None if weight is None else jnp.tile(weight, views.count),",
            "weights of rows go to the views of other rows",
        ),
    ),
    *of(
        "jaxad/objectives/wrappers.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "jnp.where(share > 0, limit + 1e-6 * jnp.abs(limit), jnp.inf)",
            "limit + 1e-6 * jnp.abs(limit)",
            "a share of 0 trims",
        ),
    ),
    *of(
        "jaxad/objectives/views.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "networks.geometric_transforms(2 * x - 1, shift=self.shift)",
            "networks.geometric_transforms(x, shift=self.shift)",
            "images are not scaled to [-1, 1]",
        ),
    ),
]
