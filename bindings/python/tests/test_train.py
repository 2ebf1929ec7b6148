"""Training: what it tells, what it leaves, and that it ends where it is asked to."""

import faulthandler
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
from conftest import CLASSES, OPTIONS, pictures

import bayeslora


def test_what_it_comes_to(training):
    assert len(training.epochs) == 2
    last = training.epochs[-1]
    assert last["epoch"] == 2 and last["rank"] == sum(training.adapter.ranks.values())
    assert 0 <= last["accuracy"] <= 1 and np.isfinite(last["nll"]) and np.isfinite(last["loss"])
    assert repr(training).startswith("<Training: 2 epochs, <Adapter: bayeslora")


def test_progress(tmp_path):
    told = []
    threads = set()

    def hear(progress):
        threads.add(threading.get_ident())
        told.append(progress)

    done = bayeslora.train(*pictures(24), CLASSES, progress=hear, **OPTIONS)
    assert threads == {threading.get_ident()}
    assert {one.phase for one in told} == {"caching", "training", "evaluating", "epoch"}
    epochs = [one for one in told if one.phase == "epoch"]
    assert [(one.done, one.total, one.epoch) for one in epochs] == [(1, 2, 1), (2, 2, 2)]
    assert [one.report for one in epochs] == done.epochs
    assert [one.loss for one in epochs] == [one["loss"] for one in done.epochs]
    steps = [one for one in told if one.phase == "training"]
    assert [(one.epoch, one.done, one.total) for one in steps] == [(e, s, 3) for e in (1, 2) for s in range(3)]
    assert all(np.isfinite(one.loss) for one in steps if one.loss is not None)
    assert repr(epochs[0]) == "<Progress: epoch, epoch 1, 1 of 2>"


def test_the_same_again(training):
    told = bayeslora.train(*pictures(24), CLASSES, lr=5e-3, **OPTIONS, progress=lambda progress: None)
    assert told.adapter == training.adapter


@pytest.mark.parametrize("phase", ["caching", "training", "evaluating", "epoch"])
def test_an_exception_of_the_callback_comes_out(phase, tmp_path):
    def hear(progress):
        if progress.phase == phase:
            raise LookupError(phase)

    with pytest.raises(LookupError, match=phase):
        bayeslora.train(*pictures(24), CLASSES, out=tmp_path / "a", progress=hear, **OPTIONS)
    assert (tmp_path / "a").exists() == (phase == "epoch"), "the adapter of the last whole epoch"


def interrupted(work) -> float:
    """Seconds from a signal to KeyboardInterrupt; `work` is given what sends it soon."""
    sent = []

    def send():
        time.sleep(0.3)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    # In a job that a script has put into the background Python ignores the signal, and leaves it at that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # A signal that is not heard would leave the test at work for ever.
    faulthandler.dump_traceback_later(120, exit=True)
    try:
        with pytest.raises(KeyboardInterrupt):
            work(thread.start)
        heard = time.perf_counter()
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGINT, before)
    thread.join()
    return heard - sent[0]


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
def test_control_c(predictor, images):
    endless = {**OPTIONS, "epochs": 100_000}

    def cached(send):
        bayeslora.train(*pictures(48), CLASSES, progress=once(send), **endless)

    def uncached(send):
        options = {"prefix_cache": 0, "resident_images": 0}
        bayeslora.train(*pictures(48), CLASSES, progress=once(send), **endless, **options)

    def once(send):
        begun = []

        def hear(progress):
            if progress.phase == "training" and not begun:
                begun.append(True)
                send()

        return hear

    def predicting(send):
        predictor.predict(images, samples=20)
        send()
        while True:
            predictor.predict(images, samples=20)

    expected = predictor.predict(images)
    for work in [cached, uncached, predicting]:
        # It is heard within 10 ms; then the step or the batch ends and the device is closed, which takes a busy machine its time.
        assert min(interrupted(work) for _ in range(3)) < 0.5, work
    np.testing.assert_array_equal(predictor.predict(images).probabilities, expected.probabilities)


def test_other_threads_go_on():
    done = threading.Event()
    ticks = 0

    def tick():
        nonlocal ticks
        while not done.wait(0.002):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    started = time.perf_counter()
    bayeslora.train(*pictures(24), CLASSES, **OPTIONS)
    seconds = time.perf_counter() - started
    done.set()
    thread.join()
    # A thread that held the interpreter would let this one tick a few times.
    assert ticks > 50 * seconds


def test_two_trainings_at_once(training):
    found = []

    def work():
        found.append(bayeslora.train(*pictures(24), CLASSES, lr=5e-3, **OPTIONS).adapter)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [training.adapter] * 2


def stopped(work) -> None:
    """`work`, given a callback that has had enough after the first epoch."""

    def hear(progress):
        if progress.phase == "epoch":
            raise LookupError

    with pytest.raises(LookupError):
        work(hear)


def test_a_training_goes_on_from_its_checkpoint(training, tmp_path):
    options = {**OPTIONS, "lr": 5e-3}
    file = tmp_path / "there/checkpoint"
    stopped(lambda hear: bayeslora.train(*pictures(24), CLASSES, checkpoint=file, progress=hear, **options))
    before = file.read_bytes()

    def resume(images=pictures(24), classes=CLASSES, **more):
        return bayeslora.train(*images, classes, **{"checkpoint": file, "resume": True, **options, **more})

    for more, says in [
        ({"images": pictures(24, seed=3)}, "other images or labels"),
        ({"classes": ["red", "green", "violet"]}, "other classes"),
        ({"lr": 1e-3}, "`lr` at 0.005, not 0.001"),
        ({"epochs": 3}, "`epochs` at 2, not 3"),
        ({"split_seed": 2}, "other images"),
        ({"checkpoint": tmp_path / "nothing"}, "nothing. does not exist"),
        ({"checkpoint": None}, "name it by checkpoint"),
        ({"resume": False}, "is there already"),
        ({"checkpoint": __file__}, "test_train.py"),
    ]:
        with pytest.raises(ValueError, match=says):
            resume(**more)
    cut = tmp_path / "cut"
    cut.write_bytes(before[:-100])
    with pytest.raises(ValueError, match="cut"):
        resume(checkpoint=cut)
    assert file.read_bytes() == before, "nothing has touched it"

    done = resume()
    assert done.adapter == training.adapter, "the same bits"
    assert [epoch["epoch"] for epoch in done.epochs] == [2]
    assert done.epochs[0]["nll"] == training.epochs[1]["nll"]
    # There is nothing left to do.
    again = resume(out=tmp_path / "adapter")
    assert again.epochs == [] and bayeslora.Adapter.load(tmp_path / "adapter") == training.adapter


def test_a_backbone_of_8_bits(images, tmp_path):
    options = {**OPTIONS, "lr": 5e-3}
    full = bayeslora.train(*pictures(24), CLASSES, **options)
    eight = bayeslora.train(*pictures(24), CLASSES, out=tmp_path / "eight", backbone_bits=8, **options)
    assert len(eight.epochs) == 2 and np.isfinite(eight.epochs[-1]["nll"])
    # The adapter says which weights it is for; whoever opens it answers over these.
    said = json.loads((tmp_path / "eight" / "bayeslora.json").read_text())
    assert said["backbone_sha256"].startswith("int8:") and eight.adapter != full.adapter
    assert bayeslora.Adapter.load(tmp_path / "eight") == eight.adapter
    answer = bayeslora.Predictor(eight.adapter).predict(images)
    for other in [tmp_path / "eight", bayeslora.Adapter.load(tmp_path / "eight")]:
        again = bayeslora.Predictor(other, backbone="embedded").predict(images)
        np.testing.assert_array_equal(again.probabilities, answer.probabilities)
    # It goes on over them, too.
    file = tmp_path / "eight.checkpoint"
    stopped(lambda hear: bayeslora.train(*pictures(24), CLASSES, checkpoint=file, backbone_bits=8, progress=hear, **options))
    with pytest.raises(ValueError, match="`backbone_bits` at 8, not its default"):
        bayeslora.train(*pictures(24), CLASSES, checkpoint=file, resume=True, **options)
    on = bayeslora.train(*pictures(24), CLASSES, checkpoint=file, resume=True, backbone_bits=8, **options)
    assert on.adapter == eight.adapter
    known, labels = pictures(30, seed=9)
    assert (bayeslora.Predictor(eight.adapter).predict(known, samples=0).labels == labels).mean() > 0.9


def test_plain_lora_and_the_head_alone(images):
    options = {**OPTIONS, "epochs": 1, "validation": 0.0}
    plain = bayeslora.train(*pictures(12), CLASSES, method="lora", **options)
    assert not plain.adapter.draws and plain.epochs[0]["nll"] is None
    answer = bayeslora.Predictor(plain.adapter).predict(images, samples=8)
    assert (answer.std == 0).all()
    head = bayeslora.train(*pictures(12), CLASSES, method="lora", **{**options, "rank": 0})
    assert head.adapter.scalars == 0
