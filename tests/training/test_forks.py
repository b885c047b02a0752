"""A process forked after a fit is told so, instead of hanging."""

import os
import subprocess
import sys

import pytest

CODE = """
import os, warnings
warnings.simplefilter("ignore")  # JAX's own warning about forks
import numpy as np, jaxad
x = np.random.default_rng(0).normal(size=(60, 3))
detector = jaxad.AutoEncoder(hidden=(), latent_dim=2, epochs=1, n_members=1, random_state=0)
child = os.fork()
if child == 0:  # nothing has used JAX yet
    detector.fit(x)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
detector.fit(x)
for use in (lambda: detector.predict(x), lambda: detector.fit(x)):
    child = os.fork()
    if child == 0:
        try:
            use()
        except RuntimeError as error:
            print("spawn" in str(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
detector.predict(x)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_process_raises_an_error_that_names_spawn():
    found = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=True
    )
    assert found.stdout.split() == ["7", "True", "True"]
