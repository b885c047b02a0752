"""Mutants of the estimators: arguments, defaults, validation rows, seeds, attributes, ensembles."""

from tests.mutants.mutant import of

_HELD = ("tests/test_survivors.py", "tests/estimators/test_estimators.py")
_LABELS = ("tests/estimators/test_labels.py",)
_VALIDATION = (
    *("tests/test_survivors.py", "tests/estimators/test_validation.py"),
    "tests/estimators/test_own_loss.py",
)
_ARGUMENTS = (
    "tests/estimators/test_estimators.py::test_arguments_reach_objective_and_recipe",
    "tests/estimators/test_estimators.py",
)
_ENSEMBLE = ("tests/estimators/test_ensemble.py", "tests/test_defects.py")
_MENDED = ("tests/test_mended.py", "tests/estimators/test_estimators.py")

MUTANTS = [
    *of(
        "jaxad/estimators/prepare.py",
        (
            "tests/test_survivors.py::test_validation_is_in_evaluation_mode_and_rows_held_out_do_not_train",
            *_VALIDATION,
        ),
        (
            "return rows.take(train), held_out, rows",
            "return rows, held_out, rows",
            "rows that are held out train, too",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        (
            "tests/test_survivors.py::test_arguments_reach_the_recipes_and_the_rows_of_pretraining",
            *_HELD,
        ),
        (
            "clip_norm=self.clip_norm,",
            "clip_norm=None,",
            "clip_norm is not passed on",
        ),
        (
            "weight_decay=self.weight_decay or None,",
            "weight_decay=None,",
            "weight_decay is not passed on",
        ),
        (
            "epochs = round(self._steps(rows) / math.ceil(rows / self.batch_size))",
            "epochs = self._steps(rows)",
            'epochs="auto" aims at so many epochs, not steps',
        ),
    ),
    *of(
        "jaxad/estimators/deep_svdd.py",
        (
            "tests/test_survivors.py::test_arguments_reach_the_recipes_and_the_rows_of_pretraining",
            *_HELD,
        ),
        (
            "warm_up = min(10, self._epochs(count) // 3)",
            "warm_up = 10",
            "the automatic warm-up may be longer than the run",
        ),
    ),
    *of(
        "jaxad/estimators/centre.py",
        (
            "tests/test_survivors.py::test_arguments_reach_the_recipes_and_the_rows_of_pretraining",
            *_HELD,
        ),
        (
            "learning_rate=self.learning_rate if rate is None else rate,",
            "learning_rate=self.learning_rate,",
            "the learning rate of pretraining is not passed on",
        ),
        (
            "weight_decay=self.pretrain_weight_decay or None,",
            "weight_decay=self.weight_decay or None,",
            "pretraining has the weight decay of training",
        ),
    ),
    *of(
        "jaxad/estimators/deep_sad.py",
        (
            "tests/test_survivors.py::test_arguments_reach_the_recipes_and_the_rows_of_pretraining",
            *_LABELS,
        ),
        (
            "rows = rows.keep(lambda label: label == 0, otherwise=lambda label: label >= 0)",
            "rows = rows.keep(lambda label: label <= 0, otherwise=lambda label: label >= 0)",
            "known anomalies pretrain the encoder",
        ),
        (
            'if self.pretrain_epochs and self.pretrain_on == "unlabelled":',
            "if self.pretrain_epochs:",
            'pretrain_on="all" is not used',
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        _VALIDATION,
        (
            "survey = _Survey(trained)",
            "survey = _Survey(rows)",
            "the scaler is fitted on rows that are held out",
        ),
        (
            "return np.sort(order[held_out:]), np.sort(order[:held_out])",
            "return np.sort(order[held_out:]), np.sort(order[: held_out + 1])",
            "one row is both held out and trained on",
        ),
        (
            "return rows, np.arange(len(rows.x), len(every.x)), every",
            "return every, np.arange(len(rows.x), len(every.x)), every",
            "given validation rows train",
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        _MENDED,
        (
            "if not held_out:\n        raise ValueError(",
            "if False:\n        raise ValueError(",
            "a fraction that holds out no row is dropped silently",
        ),
        (
            "recipe.replace(batch_size=min(recipe.batch_size, bucket(count)))",
            "recipe",
            "batches are larger than the rows",
        ),
        (
            "detector._check_labels(survey.labels)",
            "pass",
            "rows that are all known anomalies are accepted",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        _HELD,
        (
            "return np.where(self.decision_function(X) >= 0, 1, -1)",
            "return np.where(self.decision_function(X) > 0, 1, -1)",
            "a row with the score of the threshold is flagged",
        ),
        (
            "return -self.threshold_",
            "return self.threshold_",
            "the offset has the wrong sign",
        ),
        (
            "latent = jax.eval_shape(self.objective_.transform, *model, row)\n"
            "        return self.n_members_ * latent.shape[1]",
            "latent = jax.eval_shape(self.objective_.transform, *model, row)\n"
            "        return latent.shape[1]",
            "the number of outputs is that of one member",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        _ENSEMBLE,
        (
            "return np.stack([words, *(_words(*words.tolist(), p) for p in range(1, size))])",
            "return np.stack([words] * size)",
            "all members of an ensemble are the same",
        ),
    ),
    *of(
        "jaxad/estimators/ensemble.py",
        _ENSEMBLE,
        (
            "spread = scores.std(axis=1)\n    units",
            "spread = scores.std(axis=0).mean() + 0 * scores[:, 0]\n    units",
            "members are standardised by the spread between them",
        ),
        (
            "levels = (np.cumsum(counts) - counts / 2) / len(scores)",
            "levels = np.cumsum(counts) / len(scores)",
            "equal scores have their highest rank",
        ),
        (
            "np.interp(scores, knots, levels) + np.log1p(above) - np.log1p(below)",
            "np.interp(scores, knots, levels)",
            "rows beyond all training rows tie",
        ),
        (
            "return reduce(np.add, values) / len(values)",
            "return reduce(np.add, values)",
            "an ensemble's score is a sum",
        ),
        (
            "np.square(value - middle) for value in values",
            "np.abs(value - middle) for value in values",
            "the spread is no standard deviation",
        ),
    ),
    *of(
        "jaxad/estimators/deep_svdd.py",
        _HELD,
        (
            "self._autoencoder(objective, rows, seed, objectives.sum_squared_error)",
            "self._autoencoder(objective, rows, seed, objectives.mean_squared_error)",
            "pretraining averages over the entries of a row",
        ),
    ),
    *of(
        "jaxad/estimators/weights.py",
        ("jaxad/estimators/weights.py", "tests/estimators/test_weights.py"),
        (
            "kept = rows if len(counts) == len(given) else rows.take(counts)",
            "kept = rows.take(np.arange(len(counts)))",
            "weights go to other rows where some weigh 0",
        ),
        (
            "wrong = ~np.isfinite(given) | (given < 0)",
            "wrong = ~np.isfinite(given)",
            "negative weights are accepted",
        ),
        (
            "else share / share.mean()",
            "else share",
            "the scale of the weights matters",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        _ARGUMENTS,
        (
            "patience=self.patience,",
            "patience=None,",
            "patience is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        _ARGUMENTS,
        (
            "milestones=tuple(self.milestones),",
            "milestones=(),",
            "milestones are not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        _ARGUMENTS,
        (
            "return objectives.Trimmed(objective, self.trim, _TEACHER) if self.trim else objective",
            "return objective",
            "trim is not used",
        ),
    ),
    *of(
        "jaxad/estimators/deep_svdd.py",
        _ARGUMENTS,
        (
            'numbers = {"nu": self.nu, "warm_up": warm_up}',
            'numbers = {"nu": 0.1, "warm_up": warm_up}',
            "nu is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/deep_sad.py",
        _ARGUMENTS,
        (
            'numbers = {"eta": float(self.eta), "epsilon": float(self.epsilon)}',
            'numbers = {"eta": 1.0, "epsilon": float(self.epsilon)}',
            "eta is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/dagmm.py",
        _ARGUMENTS,
        (
            "jitter=self.jitter,",
            "jitter=1e-3,",
            "jitter is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/dagmm.py",
        _ARGUMENTS,
        (
            '"input_dropout": self.network_dropout,',
            '"input_dropout": 0.0,',
            "the input of the autoencoder is not dropped",
        ),
    ),
    *of(
        "jaxad/estimators/goad.py",
        _ARGUMENTS,
        (
            '"epsilon": self.epsilon,',
            '"epsilon": 1e-6,',
            "epsilon is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/goad.py",
        _ARGUMENTS,
        (
            '"map_offset": self.map_offset,',
            '"map_offset": 1.0,',
            "map_offset is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/goad.py",
        _ARGUMENTS,
        (
            "objectives.Compound((objective, part), (1.0, self.reconstruction_weight))",
            "objectives.Compound((objective, part), (1.0, 1.0))",
            "the weight of the reconstruction is not used",
        ),
    ),
    *of(
        "jaxad/estimators/autoencoder.py",
        _ARGUMENTS,
        (
            "dataclasses.replace(super()._recipe(rows), time_decay=self.time_decay)",
            "super()._recipe(rows)",
            "time_decay is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        ("tests/estimators/test_ensemble.py",),
        (
            "return 5 if rows.resident and len(rows.shape) == 1 else self._fewest_members",
            "return 5 if rows.resident else self._fewest_members",
            "detectors of images are ensembles by default",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        ("tests/estimators/test_ensemble.py",),
        (
            'return "mean" if self.n_members_ == 1 else self._ensemble_rule',
            "return self._ensemble_rule",
            "the scores of a single model are combined by rank",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        ("tests/estimators/test_streaming.py",),
        (
            "elif plan.run.initial is None:\n            vars(self).pop",
            "elif False:\n            vars(self).pop",
            "a fit without pretraining keeps the history of an earlier one",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        ("tests/estimators/test_decisions.py",),
        (
            'for name in ("calibration_", "held_out_scores_"):',
            'for name in ("held_out_scores_",):',
            "an old calibration stays after a new fit",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        ("tests/estimators/test_validation.py",),
        (
            "reference = score[:, plan.reference_rows]",
            "reference = score",
            "training rows set the threshold beside those that are held out",
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        ("tests/estimators/test_labels.py",),
        (
            "if labels == {0, 1}:\n        detector._check_marks(labels)",
            "if False:\n        detector._check_marks(labels)",
            "marks of 0 and 1 for validation rows are read as labels",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        ("tests/estimators/test_streaming.py",),
        (
            '"fitted": run.initial is not None,',
            '"fitted": False,',
            "a warm start prepares its statistics anew",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        ("tests/test_callbacks.py",),
        (
            'callbacks = [_Staged(callback, "pretraining") for callback in',
            'callbacks = [_Staged(callback, "training") for callback in',
            "callbacks are told the wrong stage",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        ("tests/training/test_checkpoint.py",),
        (
            'below = subfolder(checkpoints, "pretraining")',
            "below = None",
            "pretraining is not saved",
        ),
    ),
    *of(
        "jaxad/estimators/autoencoder.py",
        ("tests/estimators/test_objective_detector.py",),
        (
            "levels[p % len(levels)]",
            "levels[0]",
            "all members have the first level of noise",
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        (
            "tests/estimators/test_validation.py::test_validation_rows_are_scaled_like_the_others",
            "tests/estimators/test_validation.py",
        ),
        (
            "validation = every.take(held_out).map(scaler) if len(held_out) else None",
            "validation = every.take(held_out) if len(held_out) else None",
            "validation rows are not scaled",
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        (
            "tests/estimators/test_validation.py::test_another_seed_holds_out_other_rows",
            "tests/estimators/test_validation.py",
        ),
        (
            "order = np.random.default_rng(seed).permutation(count)",
            "order = np.random.default_rng(0).permutation(count)",
            "another seed holds out the same rows",
        ),
    ),
    *of(
        "jaxad/estimators/centre.py",
        (
            "tests/test_survivors.py::test_arguments_reach_the_recipes_and_the_rows_of_pretraining",
            "tests/test_survivors.py",
        ),
        (
            "return Run(self._trimmed(autoencoder), recipe, key_from(seed, stream=1), rows)",
            "return Run(self._trimmed(autoencoder), recipe, key_from(seed), rows)",
            "pretraining and training share a key",
        ),
    ),
    *of(
        "jaxad/estimators/base.py",
        (
            "tests/test_survivors.py::test_arguments_reach_the_recipes_and_the_rows_of_pretraining",
            "tests/test_survivors.py",
        ),
        (
            "return min(max(1, epochs), self._max_epochs)",
            "return max(1, epochs)",
            'epochs="auto" has no limit',
        ),
    ),
    *of(
        "jaxad/estimators/dagmm.py",
        (
            "tests/estimators/test_estimators.py::test_dagmm_paper_settings",
            "tests/estimators/test_estimators.py",
        ),
        (
            '"thyroid": ((12, 4), 1, 2, 20_000, 1024),',
            '"thyroid": ((12, 4), 1, 4, 20_000, 1024),',
            "a setting is not the paper's",
        ),
    ),
    *of(
        "jaxad/estimators/dagmm.py",
        (
            "tests/estimators/test_estimators.py::test_the_default_latent_space_of_dagmm_is_no_wider_than_the_rows",
            "tests/estimators/test_estimators.py",
        ),
        (
            "return min(8, shape[0]) if self.latent_dim is None else self.latent_dim",
            "return 8 if self.latent_dim is None else self.latent_dim",
            "the default latent space is larger than few features",
        ),
    ),
    *of(
        "jaxad/estimators/ensemble.py",
        (
            "tests/estimators/test_ensemble.py::test_beyond_all_rows_a_rank_grows_with_the_members_own_spread",
            "tests/estimators/test_ensemble.py",
        ),
        (
            "above = np.maximum(scores - knots[-1], 0) / scale",
            "above = np.maximum(scores - knots[-1], 0)",
            "ranks beyond the training rows have each member's units",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        (
            "tests/estimators/test_ensemble.py::test_a_member_is_left_out_for_one_score_and_named_by_its_own_ensemble",
            "tests/estimators/test_ensemble.py",
        ),
        (
            "finite = np.isfinite(scores).all(axis=1)",
            "finite = np.isfinite(scores).any(axis=1)",
            "a member with scores that are not finite is kept",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        (
            "tests/estimators/test_ensemble.py::test_a_member_is_left_out_for_one_score_and_named_by_its_own_ensemble",
            "tests/estimators/test_ensemble.py",
        ),
        (
            "lost = np.setdiff1d(own, kept) - own[0]",
            "lost = np.setdiff1d(own, kept)",
            "the warning names members of another detector",
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        (
            "tests/estimators/test_estimators.py::test_small_differences_of_large_numbers_survive_until_they_are_scaled",
            "tests/estimators/test_scaling.py",
        ),
        (
            "exact = np.can_cast(rows.dtype, np.float32)",
            "exact = True",
            "large numbers lose digits before they are scaled",
        ),
    ),
    *of(
        "jaxad/estimators/centre.py",
        ("tests/estimators/test_own_loss.py",),
        (
            'distance = score + np.square(stats["radius"])',
            "distance = score",
            "scores inside the ball are taken for a collapse",
        ),
    ),
    *of(
        "jaxad/estimators/prepare.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "self.count += len(x)",
            "self.count = len(x)",
            "the rows of a stream are those of its last chunk",
        ),
        (
            "vars(detector).update(before)\n        raise",
            "raise",
            "an error leaves a detector without attributes",
        ),
    ),
    *of(
        "jaxad/estimators/weights.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "return values[order][np.searchsorted(reached, middles)]",
            "return values[order]",
            "weights do not count in the threshold",
        ),
    ),
    *of(
        "jaxad/estimators/deep_sad.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "anomalies_in_centre=bool(self.anomalies_in_centre),",
            "anomalies_in_centre=False,",
            "anomalies_in_centre is not passed on",
        ),
    ),
    *of(
        "jaxad/estimators/fitting.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "failed = result.failed if pretrained is None else result.failed | pretrained.failed",
            "failed = result.failed",
            "a member whose pretraining failed is kept",
        ),
    ),
    *of(
        "jaxad/estimators/centre.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            'if distance.mean() > 1e-4 * np.sum(np.square(stats["centre"])):',
            "if True:",
            "a network that maps all rows to the centre is not noticed",
        ),
    ),
]
