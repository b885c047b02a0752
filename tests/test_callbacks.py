"""Callbacks see every group of epochs, may end training, and change no number."""

import logging
import signal
import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import fresh

import jaxad
from jaxad import data, networks, objectives, training
from jaxad.callbacks import Every, LogProgress, TensorBoard, TimeLimit


def small(**options):
    how = {"hidden": (8,), "latent_dim": 2, "n_members": 2, "epochs": 6, "random_state": 0}
    return jaxad.AutoEncoder(**how | options)


def test_callbacks_change_no_number(rows):
    plain, seen = small().fit(rows), []
    watched = small().fit(rows, callbacks=[Every(1, seen.append)])
    assert [progress.epoch for progress in seen] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(watched.anomaly_score(rows), plain.anomaly_score(rows))
    for name, values in plain.history_.items():
        np.testing.assert_array_equal(watched.history_[name], values)
        np.testing.assert_array_equal(seen[3].history[name], values[:, :4])
    assert [progress.ended for progress in seen] == [False] * 5 + [True]
    assert seen[-1].last() == pytest.approx(plain.history_["loss"][:, -1].mean())


@pytest.mark.parametrize("members", [1, 2])
def test_a_callback_ends_training_as_if_that_epoch_had_been_the_last(rows, members):
    stopped = small(n_members=members).fit(rows, callbacks=[Every(2, lambda now: now.epoch == 4)])
    short = small(n_members=members, epochs=4).fit(rows)
    np.testing.assert_array_equal(stopped.anomaly_score(rows), short.anomaly_score(rows))
    assert stopped.threshold_ == short.threshold_


@pytest.mark.parametrize("members", [1, 2])
def test_all_callbacks_are_told_once_of_an_end_by_one_of_them(rows, members):
    stop, rare, often = [], [], []

    def stops(now):
        stop.append((now.epoch, now.ended))
        return now.epoch == 3

    callbacks = [
        Every(100, lambda now: rare.append((now.epoch, now.ended))),
        Every(1, stops),
        Every(2, lambda now: often.append((now.epoch, now.ended))),
    ]
    small(n_members=members).fit(rows, callbacks=callbacks)
    assert rare == [(3, True)]
    assert stop == [(1, False), (2, False), (3, False), (3, True)]
    assert often == [(2, False), (3, True)]


@pytest.mark.parametrize("members", [1, 2])
def test_a_run_that_a_callback_ended_is_not_trained_on_when_resumed(rows, tmp_path, members):
    def fit(epochs, *callbacks):
        detector = small(n_members=members, epochs=epochs)
        detector.fit(rows, callbacks=callbacks, checkpoints=tmp_path)
        return detector.history_["loss"].shape[-1]

    seen, stop = [], Every(1, lambda now: now.epoch >= 3)
    assert [fit(6, stop), fit(6, stop), fit(7, stop)] == [3, 3, 3]
    assert fit(4) == 4  # without the callback
    assert fit(4, lambda now: seen.append((now.epoch, now.ended))) == 4
    assert seen == [(4, True)]


def test_callbacks_are_told_once_of_an_end_by_ctrl_c(rows):
    seen = []

    def press(now):
        if now.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    callbacks = [Every(100, lambda now: seen.append((now.epoch, now.ended))), Every(1, press)]
    with pytest.raises(KeyboardInterrupt, match="2 epochs"):
        small().fit(rows, callbacks=callbacks)
    assert seen == [(2, True)]


@pytest.mark.parametrize(("answer", "epochs"), [(1, 6), ("yes", 6), (np.bool_(True), 1)])
def test_only_true_ends_training(rows, answer, epochs):
    detector = small().fit(rows, callbacks=[Every(1, lambda now: answer)])
    assert detector.history_["loss"].shape[-1] == epochs


def test_progress_makes_the_detector_so_far(rows):
    found = []
    detector = small().fit(rows, callbacks=[Every(3, lambda now: found.append(now.detector()))])
    half = small(epochs=3).fit(rows)
    np.testing.assert_array_equal(found[0].anomaly_score(rows), half.anomaly_score(rows))
    assert found[0].threshold_ == half.threshold_
    assert found[1].threshold_ == detector.threshold_


def test_pretraining_is_a_stage_of_its_own(rows):
    seen = []
    detector = fresh("DeepSVDD", epochs=2, pretrain_epochs=1)
    detector.fit(rows, callbacks=[Every(1, seen.append)])
    assert [(now.stage, now.epoch) for now in seen] == [
        *(("pretraining", 1), ("training", 1), ("training", 2))
    ]
    with pytest.raises(RuntimeError, match="'pretraining'.* use result"):
        seen[0].detector()


def test_streams_have_callbacks(rows):
    stream, seen = data.stream(rows, rows=128), []
    small(n_members=1, epochs=2).fit(stream, callbacks=[lambda now: seen.append(now.epoch)])
    assert seen == [1, 2]


def test_training_without_a_detector_has_callbacks(rows):
    objective, found = objectives.deep_svdd(networks.MLP((4,))), []
    run = objective, training.Recipe(epochs=2), jax.random.key(0), rows
    result = training.fit(*run, callbacks=[lambda now: found.append(now.result())])
    np.testing.assert_array_equal(found[-1].stats["centre"], result.stats["centre"])


def test_callbacks_keep_the_64_bit_types_of_the_program(rows):
    plain, types, found = small(epochs=2).fit(rows), [], []

    def look(now):
        types.append(jnp.zeros(1).dtype)
        found.append(now.detector())

    with jax.enable_x64(True):
        small(epochs=2).fit(rows, callbacks=[Every(2, look)])
    assert types == [jnp.float64]
    np.testing.assert_array_equal(found[0].anomaly_score(rows), plain.anomaly_score(rows))
    small(epochs=2).fit(rows, callbacks=[Every(2, look)])
    assert types[1:] == [jnp.float32]


def test_an_error_in_a_callback_leaves_the_detector_as_it_was(rows):
    detector = small().fit(rows)
    before = dict(vars(detector))
    with pytest.raises(ZeroDivisionError):
        detector.fit(rows[:, :3], callbacks=[lambda now: 1 / 0])
    assert vars(detector) == before


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (print, "callbacks=<built-in function print> is not a list of functions: give"),
        ([3], "callbacks[0]=3 is not a function"),
        ([TensorBoard], "give one, or an instance of a class"),
    ],
)
def test_callbacks_that_are_none(rows, callbacks, message):
    with pytest.raises(TypeError) as error:
        small().fit(rows, callbacks=callbacks)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(0, print), "epochs=0 is not a positive whole number"),
        (lambda: Every(None, print), "epochs=0 is not a positive whole number"),
        (lambda: TimeLimit(0), "seconds=0 is not a positive number"),
        (lambda: LogProgress(-1), "seconds=-1 is not a number of seconds"),
    ],
)
def test_callbacks_check_their_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_log_lines_name_the_epoch_and_the_losses(rows, caplog):
    caplog.set_level(logging.INFO, "jaxad")
    small(n_members=1, epochs=2).fit(rows, validation=rows[:9], callbacks=[LogProgress(0)])
    lines = [record.message for record in caplog.records]
    assert lines[0].startswith("training: epoch 1 of 2, loss ")
    assert "validation_loss" in lines[1]
    assert lines[-1].startswith("AutoEncoder: 2 epochs in ")


def test_tensorboard_has_a_curve_for_each_record(rows, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    detector = small(epochs=3).fit(rows, callbacks=[TensorBoard(tmp_path)])
    (path,) = tmp_path.iterdir()
    content, events = path.read_bytes(), []
    while content:  # each record: its length, 4 bytes, the record, 4 bytes
        (length,) = struct.unpack("<Q", content[:8])
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    points = {
        (value.tag, event.step): value.simple_value
        for event in events
        for value in event.summary.value
    }
    curve = [points["training/loss", epoch] for epoch in (1, 2, 3)]
    np.testing.assert_allclose(curve, detector.history_["loss"].mean(0), rtol=1e-6)


def test_a_missing_tensorboard_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxad\[tensorboard\]'"):
        TensorBoard("runs")


def test_a_number_as_verbose_names_the_log(rows):
    with pytest.raises(ValueError, match=r"verbose=2 is not True or False.*LogProgress"):
        small(verbose=2).fit(rows)
