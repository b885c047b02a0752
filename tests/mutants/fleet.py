"""Mutants of fleets: calibration, scaling, splits, waves, scores, updates, files, partitions."""

from tests.mutants.mutant import of

_CALIBRATION = ("tests/fleet/test_calibration.py",)
_SCALING = ("tests/fleet/test_scaling.py",)
_FLEET = ("tests/fleet/test_fleet.py", "tests/fleet/test_fleet_updates.py")
_UPDATES = ("tests/fleet/test_fleet_updates.py", "tests/fleet/test_fleet.py")
_STORAGE = ("tests/fleet/test_fleet_storage.py",)
_PARTITIONS = ("tests/fleet/test_partitions.py",)

MUTANTS = [
    *of(
        "jaxad/fleet/calibration.py",
        _CALIBRATION,
        (
            "return (np.asarray(counts) >= jump) & (risk <= _RISK)",
            "return np.asarray(counts) >= jump",
            "own scores suffice as soon as there is one alarm",
        ),
        (
            "square / counts)",
            "square / np.maximum(counts - 1, 1))",
            "the spread of a group is that of a sample",
        ),
        (
            "(np.asarray(scores, np.float64) - self.centre[group]) / self.spread[group]",
            "np.asarray(scores, np.float64) / self.spread[group]",
            "pooled scores are not centred",
        ),
        (
            "standardised = ((ascending - centre[owner]) / spread[owner])[drawn]",
            "standardised = ((ascending - centre[owner]) / spread[owner])",
            "a large group fills its pool",
        ),
        (
            "reach = within[min(enough, len(within)) - 1] if len(within) else 0",
            "reach = 0",
            "a pool of few scores is not widened",
        ),
        (
            "highest = np.full(len(sizes), np.inf)",
            "highest = np.full(len(sizes), -np.inf)",
            "groups of too few rows are always flagged",
        ),
        (
            "values = np.where(over, np.nextafter(values, np.float32(-np.inf)), values)",
            "pass",
            "a threshold that is rounded up flags other rows than the p-values",
        ),
        (
            "ascending = scores[np.lexsort((scores, owner))]",
            "ascending = scores",
            "held-out scores are not in order",
        ),
    ),
    *of(
        "jaxad/fleet/scaling.py",
        _SCALING,
        (
            "return Moments(count.astype(np.float64), mean, variance, variance == 0)",
            "return Moments(count.astype(np.float64), mean, variance, variance < 0)",
            "a constant column counts as one with a variance of 0",
        ),
        (
            "pull = (1 - count / (count + prior.strength)) * (prior.mean - moments.mean)",
            "pull = (count / (count + prior.strength)) * (prior.mean - moments.mean)",
            "large groups are drawn to the fleet most",
        ),
        (
            "np.clip(pull, -limit, limit)",
            "pull",
            "a group unlike all others is drawn to them",
        ),
        (
            "unbiased = moments.variance * (count / np.maximum(degrees, 1))\n    variance = own",
            "unbiased = moments.variance\n    variance = own",
            "the variance of small groups is too small",
        ),
        (
            "excess = np.where(groups > 1, square - noise, 0)",
            "excess = np.where(groups > 1, square, 0)",
            "chance counts as a difference between groups",
        ),
        (
            "return variance, np.where(finite, 2 * half0, np.inf)",
            "return variance, np.where(finite, half0, np.inf)",
            "the degrees of the fleet's variance are halved",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        _FLEET,
        (
            "key=lambda i: [(isinstance(v, str), v) for v in keys[i]])",
            "key=lambda i: i)",
            "groups are in the order of their first row",
        ),
    ),
    *of(
        "jaxad/fleet/waves.py",
        _FLEET,
        (
            "held_out.append(np.sort(combined[calibrates]))",
            "held_out.append(np.sort(combined[normal]))",
            "groups are calibrated on the rows that they were trained on",
        ),
        (
            "AffineScaler(task.shift[g], task.scale[g])",
            "AffineScaler(task.shift[0], task.scale[0])",
            "all groups have the scaler of the first",
        ),
        (
            "return recipe.replace(epochs=self.epochs, patience=None)",
            "return recipe",
            "an update trains as many epochs as a fit",
        ),
        (
            "rows = count\n        if trainer.before is not None:",
            "rows = count\n        if False:",
            "an update forgets which model a group has",
        ),
    ),
    *of(
        "jaxad/fleet/scoring.py",
        _FLEET,
        (
            "blocks = -(-request.size // sets.SCORED)\n            members = ",
            "blocks = request.size // sets.SCORED\n            members = ",
            "the last rows of a group have no score",
        ),
        (
            "place = models >= 0\n",
            "place = models > 0\n",
            "the first model is taken for the global one, in a call with both",
        ),
        (
            "return [v[: len(block)] for v, block in zip(values, blocks, strict=False)]",
            "return [v[-len(block) :] for v, block in zip(values, blocks, strict=False)]",
            "scores are those of padding",
        ),
        (
            "members = np.array([slot.member for slot in filled])",
            "members = np.array([0 for slot in filled])",
            "the first member scores for all",
        ),
    ),
    *of(
        "jaxad/fleet/fleet.py",
        _UPDATES,
        (
            "counts[key] = counts.get(key, 0) + count",
            "counts[key] = count",
            "an update forgets the rows before it",
        ),
        (
            "kept = [m for key, m in self._numbers.items() if key not in new]",
            "kept = [m for key, m in self._numbers.items()]",
            "a group that is updated keeps its old model, too",
        ),
        (
            "if calibration.suffice(len(together), rate):",
            "if len(together):",
            "a few rows recalibrate the global model",
        ),
        (
            "gone = {self._known(group) for group in groups}",
            "gone = {self._as_key(group) for group in groups}",
            "groups that are not there are dropped silently",
        ),
        (
            'if new and self.unseen == "raise":',
            "if False:",
            "new groups are scored although they ought to be refused",
        ),
        (
            "return int(self.normal.sum()), int(flags(self.p_value[self.normal]).sum())",
            "return len(self.normal), int(flags(self.p_value).sum())",
            "known anomalies count as alarms",
        ),
        (
            "detector.threshold_ = self._threshold(m)",
            "detector.threshold_ = self._threshold(GLOBAL)",
            "a group's detector has the global threshold",
        ),
    ),
    *of(
        "jaxad/fleet/storage.py",
        _STORAGE,
        (
            "if wrong.any():\n                key",
            "if False:\n                key",
            "a damaged model of a group is used",
        ),
        (
            'if digest(small) != metadata["digest"]:',
            "if False:",
            "a damaged global model is used",
        ),
        (
            "if of_rows != rows:",
            "if False:",
            "a saved wave of other rows is used",
        ),
        (
            'recent = {tuple(key): tuple(counts) for key, counts in metadata["recent"]}',
            "recent = {}",
            "recent alarms are lost in a file",
        ),
    ),
    *of(
        "jaxad/fleet/partitions.py",
        _PARTITIONS,
    ),
    *of(
        "jaxad/fleet/routing.py",
        _PARTITIONS,
        (
            'order = np.argsort(target, kind="stable")',
            "order = np.argsort(target)[::-1]",
            "rows of a group change their order between partitions",
        ),
        (
            "middle = np.cumsum(rows) - rows / 2",
            "middle = np.cumsum(rows)",
            "the last group falls out of the partitions",
        ),
    ),
    *of(
        "jaxad/fleet/calibration.py",
        ("tests/fleet/test_calibration.py::test_a_group_gives_its_pool_at_most_256_scores",),
        (
            "return place < _FROM_GROUP",
            "return place <= _FROM_GROUP",
            "one score too many of a group is drawn",
        ),
    ),
    *of(
        "jaxad/fleet/scaling.py",
        (
            "tests/fleet/test_scaling.py::test_credibility_of_groups_of_unequal_sizes_follows_buehlmann_and_straub",
        ),
        (
            "effective = rows - (count**2).sum() / rows",
            "effective = rows",
            "groups of unequal sizes are taken for equal ones",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        (
            "tests/fleet/test_fleet_updates.py::test_a_split_follows_group_seed_and_update_and_labels",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "random = np.random.default_rng([seed, *words, update])",
            "random = np.random.default_rng([seed, update])",
            "all groups are split alike",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        (
            "tests/fleet/test_fleet_updates.py::test_a_split_follows_group_seed_and_update_and_labels",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "random = np.random.default_rng([seed, *words, update])",
            "random = np.random.default_rng([*words, update])",
            "the seed does not split the groups",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        (
            "tests/fleet/test_fleet_updates.py::test_a_split_follows_group_seed_and_update_and_labels",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "held_out, train = order[:count], order[count:]",
            "held_out, train = order[:count], order",
            "rows that calibrate a group train it, too",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        (
            "tests/fleet/test_fleet_updates.py::test_a_split_follows_group_seed_and_update_and_labels",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "if anomalies and len(normal) < len(label):",
            "if len(normal) < len(label):",
            "known anomalies train detectors without labels",
        ),
    ),
    *of(
        "jaxad/fleet/waves.py",
        ("tests/fleet/test_fleet_updates.py::test_a_group_with_a_member_that_fails_gets_no_model",),
        (
            "failed = by_group(result.failed).any(axis=1)",
            "failed = by_group(result.failed).all(axis=1)",
            "a group with a failed member keeps it",
        ),
    ),
    *of(
        "jaxad/fleet/waves.py",
        (
            "tests/fleet/test_fleet_updates.py::test_known_anomalies_never_calibrate",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "normal = group.parting.train[group.label[group.parting.train] >= 0]",
            "normal = group.parting.train",
            "known anomalies count in a group's unit and combination",
        ),
    ),
    *of(
        "jaxad/fleet/fleet.py",
        (
            "tests/fleet/test_fleet_updates.py::test_known_anomalies_never_calibrate",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "normal = {k: np.sort(s.score[s.normal]) for k, s in found.items() if s.normal.any()}",
            "normal = {k: np.sort(s.score) for k, s in found.items() if s.normal.any()}",
            "known anomalies recalibrate",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        (
            "tests/fleet/test_fleet_updates.py::test_known_anomalies_never_calibrate",
            "tests/fleet/test_fleet_updates.py",
        ),
        (
            "normal = np.flatnonzero(label >= 0)\n    order",
            "normal = np.arange(len(label))\n    order",
            "known anomalies calibrate",
        ),
    ),
    *of(
        "jaxad/fleet/waves.py",
        ("tests/fleet/test_fleet_updates.py::test_groups_have_seeds_and_best_epochs_of_their_own",),
        (
            "seed = np.random.SeedSequence([trainer.seed, *words_of(key), updates])",
            "seed = np.random.SeedSequence([trainer.seed, updates])",
            "all groups have one seed",
        ),
    ),
    *of(
        "jaxad/fleet/fleet.py",
        ("tests/fleet/test_fleet_updates.py::test_groups_have_seeds_and_best_epochs_of_their_own",),
        (
            'detector.best_epoch_ = facts.get("best_epoch")',
            "detector.best_epoch_ = None",
            "a group's detector has lost its best epoch",
        ),
    ),
    *of(
        "jaxad/fleet/waves.py",
        (
            "tests/fleet/test_fleet_updates.py::test_update_goes_on_from_weights_and_keeps_the_scaler",
        ),
        (
            "fitted=trainer.before is not None,",
            "fitted=False,",
            "an update moves the centres of groups",
        ),
    ),
    *of(
        "jaxad/fleet/fleet.py",
        ("tests/fleet/test_fleet_updates.py::test_drift_is_seen_in_the_groups_frame",),
        (
            "drift[seen] = betabinom.sf(alarms[seen] - 1,",
            "drift[seen] = betabinom.sf(alarms[seen],",
            "the chance of drift leaves out the alarms seen",
        ),
    ),
    *of(
        "jaxad/fleet/calibration.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "return values <= rate + 1e-12",
            "return values < rate",
            "a row at the rate is not flagged",
        ),
        (
            "return float(ascending[len(ascending) - allowed]) if allowed else math.inf",
            "return float(ascending[len(ascending) - allowed - 1]) if allowed else math.inf",
            "the global threshold flags a row too many",
        ),
    ),
    *of(
        "jaxad/fleet/partitions.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "return digest((shared.seed, *shared.prior, shared.model, shared.held_out))",
            "return digest((shared.seed, *shared.prior))",
            "models of another fit are merged",
        ),
    ),
    *of(
        "jaxad/fleet/survey.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "if g > start and held + count > limit:",
            "if held + count > limit:",
            "a group larger than a wave makes an empty wave",
        ),
    ),
]
