"""Training: what it tells, what it leaves, and that it ends where it is asked to."""

import faulthandler
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


def test_plain_lora_and_the_head_alone(images):
    options = {**OPTIONS, "epochs": 1, "validation": 0.0}
    plain = bayeslora.train(*pictures(12), CLASSES, method="lora", **options)
    assert not plain.adapter.draws and plain.epochs[0]["nll"] is None
    answer = bayeslora.Predictor(plain.adapter).predict(images, samples=8)
    assert (answer.std == 0).all()
    head = bayeslora.train(*pictures(12), CLASSES, method="lora", **{**options, "rank": 0})
    assert head.adapter.scalars == 0
