"""Ctrl-C: it ends a fit at once, and the detector keeps the epochs done."""

import json
import subprocess
import sys

import pytest

from jaxad.training import interrupts

CODE = """
import json, os, signal, sys, threading, time
import numpy as np, jaxad
members, stage = int(sys.argv[1]), sys.argv[2]
x = np.random.default_rng(0).normal(size=(300, 3))
options = {"hidden": (8,), "latent_dim": 2, "n_members": members, "random_state": 0}
detector = jaxad.AutoEncoder(epochs=2, **options).fit(x)
before = detector.anomaly_score(x)
def press(seconds):
    def later():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=later).start()
given = {}
detector.set_params(epochs=10**7)
if stage == "training":
    press(1.0)
elif stage == "callback":
    given["callbacks"] = [lambda progress: os.kill(os.getpid(), signal.SIGINT)]
else:  # another structure, whose compilation is interrupted
    detector.set_params(hidden=(64, 64, 64, 64))
    press(0.1)
try:
    detector.fit(x, **given)
    message = None
except KeyboardInterrupt as interrupt:
    message = str(interrupt)
scores = detector.anomaly_score(x)
epochs = detector.history_["loss"].shape[-1]
print(json.dumps([message, epochs, bool((scores == before).all()), float(detector.threshold_)]))
"""


def interrupted(members, stage):
    command = [sys.executable, "-c", CODE, str(members), stage]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(found.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("members", "stage"), [(3, "training"), (1, "callback")])
def test_ctrl_c_leaves_a_fitted_detector_with_the_epochs_done(members, stage):
    message, epochs, unchanged, threshold = interrupted(members, stage)
    assert message == (
        f"AutoEncoder was interrupted and is fitted with what it has learnt in {epochs} epoch"
        + "s" * (epochs > 1)
    )
    assert 0 < epochs < 10**7
    assert not unchanged
    assert threshold > 0


@pytest.mark.slow
def test_ctrl_c_before_the_first_epoch_leaves_the_detector_as_it_was():
    message, epochs, unchanged, _ = interrupted(3, "compilation")
    assert message == ""
    assert epochs == 2
    assert unchanged


def test_a_thread_hands_on_values_and_errors():
    assert interrupts.in_thread(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        interrupts.in_thread(lambda: 1 / 0)
