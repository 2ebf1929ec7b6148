"""Answers: their arrays, and that the way in which an image comes changes nothing."""

import json
import os
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import CLASSES, OPTIONS, SIDE, pictures

import bayeslora


def same(one: bayeslora.Prediction, other: bayeslora.Prediction, tolerance: float = 1e-6) -> None:
    for field in ["probabilities", "std", "entropy", "mutual_information"]:
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=0, atol=tolerance)
    assert one.top == other.top


def png(path, image: np.ndarray) -> None:
    """Without a library: stored, not compressed."""
    import struct
    import zlib

    height, width, channels = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_fields(predictor, images):
    answer = predictor.predict(images, samples=8, threshold=0.999)
    n = len(images)
    assert len(answer) == n == len(answer.top) and answer.classes == CLASSES
    shapes = {"probabilities": (n, 3), "std": (n, 3), "entropy": (n,), "mutual_information": (n,)}
    for field, shape in shapes.items():
        array = getattr(answer, field)
        assert array.shape == shape and array.dtype == np.float32 and np.isfinite(array).all()
    p = answer.probabilities
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(answer.entropy, -(p * np.log(p)).sum(1), atol=1e-5)
    assert (answer.labels == p.argmax(1)).all() and answer.labels.dtype == np.int64
    assert answer.top == [CLASSES[label] for label in answer.labels]
    assert answer.abstains.dtype == bool
    assert (answer.abstains == (p.max(1) < np.float32(0.999))).all()
    assert (answer.mutual_information > 0).all() and (answer.std > 0).any()


def test_it_has_learnt(predictor):
    images, labels = pictures(30, seed=9)
    assert (predictor.predict(images, samples=0).labels == labels).mean() > 0.9


def test_options(predictor, images):
    mean = predictor.predict(images, samples=0)
    assert (mean.std == 0).all() and np.abs(mean.mutual_information).max() < 1e-6
    one, two = (predictor.predict(images, seed=seed) for seed in (1, 2))
    assert (one.probabilities != two.probabilities).any()
    hot = predictor.predict(images, temperature=3.0)
    ratio = lambda p: np.log(p[:, 0] / p[:, 1])
    np.testing.assert_allclose(ratio(hot.probabilities) * 3, ratio(one.probabilities), atol=1e-3)
    same(predictor.predict(images, batch=2), one)
    same(predictor.predict(images), one)


def test_class_prior(training, predictor, images):
    trained = training.adapter.trained_for
    assert list(trained) == sorted(CLASSES) and abs(sum(trained.values()) - 1) < 1e-12
    plain = predictor.predict(images, samples=0).probabilities

    def expected(weights):
        adjusted = plain * [weights[name] / trained[name] for name in CLASSES]
        return adjusted / adjusted.sum(1, keepdims=True)

    for prior in [{"blue": 7, "red": 1, "green": 2.5}, dict.fromkeys(CLASSES, np.float32(2)) | {"red": 1e-3}]:
        found = predictor.predict(images, samples=0, class_prior=prior)
        np.testing.assert_allclose(found.probabilities, expected(prior), rtol=0, atol=1e-5)
        p = found.probabilities
        assert (found.labels == p.argmax(1)).all()
        np.testing.assert_allclose(found.entropy, -(p * np.log(p)).sum(1), atol=1e-5)
    uniform = predictor.predict(images, samples=0, class_prior="uniform").probabilities
    np.testing.assert_allclose(uniform, expected(dict.fromkeys(CLASSES, 1)), rtol=0, atol=1e-5)
    # What it was trained for, with samples too, and nothing stays behind.
    as_trained = predictor.predict(images, class_prior=trained)
    np.testing.assert_array_equal(as_trained.probabilities, predictor.predict(images).probabilities)
    assert (predictor.predict(images, class_prior=prior).std != as_trained.std).any()
    # As a loss with weights has seen them.
    uneven = np.array([0, 0, 0, 0, 1, 2])
    weighted = bayeslora.train(
        pictures(6)[0], uneven, CLASSES, class_weights="balanced", **{**OPTIONS, "epochs": 1, "validation": 0.0}
    )
    assert set(weighted.adapter.trained_for.values()) == {1 / 3}


def test_ways_in(predictor, images, tmp_path):
    expected = predictor.predict(images)
    fortran = np.asfortranarray(images)
    strided = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)[:, ::2, ::2]
    backwards = images[:, ::-1, :, ::-1].copy()[:, ::-1, :, ::-1]
    opaque = np.concatenate([images, np.full((*images.shape[:3], 1), 255, np.uint8)], axis=3)
    read_only = images.copy()
    read_only.flags.writeable = False
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images):
        png(path, image)
    assert not any(array.flags.c_contiguous for array in (fortran, strided, backwards))
    given = {
        "fortran": fortran,
        "strided": strided,
        "backwards": backwards,
        "rgba": opaque,
        "read-only": read_only,
        "arrays": list(images),
        "paths": paths,
        "texts": tuple(map(str, paths)),
        "bytes": [path.read_bytes() for path in paths],
        "mixed": [images[0], paths[1], opaque[2], str(paths[3]), paths[4].read_bytes()],
    }
    for way, them in given.items():
        answer = predictor.predict(them)
        np.testing.assert_array_equal(answer.probabilities, expected.probabilities, way)
    for one in [images[1], paths[1], str(paths[1]), paths[1].read_bytes(), images[1:2]]:
        same(predictor.predict(one), predictor.predict(images[1]))
        assert len(predictor.predict(one)) == 1


def test_any_size(predictor, images):
    large = np.kron(images[0], np.ones((3, 3, 1), np.uint8))
    wide = np.pad(large, ((0, 0), (40, 40), (0, 0)))
    answer = predictor.predict([large, wide])
    np.testing.assert_array_equal(*answer.probabilities)


def test_pictures_may_be_written_to_while_work_goes_on(predictor, images):
    mine = images.copy()
    expected = predictor.predict(images)
    stop = threading.Event()

    def scribble():
        while not stop.is_set():
            mine[:] = 0
            stop.wait(0.001)

    answers = predictor.predict(mine)
    thread = threading.Thread(target=scribble)
    thread.start()
    predictor.predict(mine)
    stop.set()
    thread.join()
    same(answers, expected)


def test_threads_take_turns(predictor, images):
    expected = [predictor.predict(images, samples=samples) for samples in (0, 4)]
    found = {}

    def work(number):
        for _ in range(5):
            found[number] = predictor.predict(images, samples=(0, 4)[number % 2])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for number, answer in found.items():
        same(answer, expected[number % 2])


def test_an_adapter_answers_from_its_directory_too(training, predictor, images, tmp_path):
    training.adapter.save(tmp_path)
    there = bayeslora.Predictor(tmp_path, device=0)
    same(there.predict(images), predictor.predict(images))
    assert there.classes == CLASSES and there.resolution == SIDE
    assert there.device == bayeslora.devices()[0].name == predictor.device


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss and /proc are Linux's")
def test_memory_is_flat(predictor, images):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    for _ in range(20):
        predictor.predict(images)
    before = resident()
    for _ in range(60):
        predictor.predict(images)
    assert resident() - before < 1 << 20


@pytest.mark.skipif("BAYESLORA_RUN" not in os.environ, reason="the run and the program come from check.sh")
def test_the_command_line_says_the_same(tmp_path):
    run, picture, program = (os.environ[f"BAYESLORA_{name}"] for name in ("RUN", "PICTURE", "PROGRAM"))
    predictor = bayeslora.Predictor(run)
    weights = {name: 1 + place for place, name in enumerate(predictor.classes)}
    (tmp_path / "prior.json").write_text(json.dumps(weights))
    priors = [(None, []), ("uniform", ["--class-prior", "uniform"]), (weights, ["--class-prior", str(tmp_path / "prior.json")])]
    for samples, (prior, option) in [(samples, prior) for samples in (0, 8) for prior in priors]:
        command = [program, "predict", "--run", run, "--samples", str(samples), "--json", *option, picture]
        said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["images"][0]
        answer = predictor.predict(picture, samples=samples, temperature=1.0, class_prior=prior)
        for one in said["classes"]:
            column = answer.classes.index(one["class"])
            assert abs(answer.probabilities[0, column] - one["probability"]) < 1e-6
            assert abs(answer.std[0, column] - one["std"]) < 1e-6
        assert abs(answer.entropy[0] - said["entropy"]) < 1e-6
        assert abs(answer.mutual_information[0] - said["mutual_information"]) < 1e-6
    assert bayeslora.Adapter.load(run).classes == answer.classes
