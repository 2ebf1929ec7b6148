"""What is wrong is said by an exception: never by a panic, and never by a wrong answer."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, OPTIONS, SIDE, pictures

import bayeslora

ONE = np.zeros((SIDE, SIDE, 3), np.uint8)

IMAGES = {
    "floats": (ONE / 255, ValueError, "float64, expected uint8"),
    "NaN": (np.full((2, 8, 8, 3), np.nan, np.float32), ValueError, "float32, expected uint8"),
    "signed": (ONE.astype(np.int8), ValueError, "int8, expected uint8"),
    "booleans": (ONE > 0, ValueError, "bool, expected uint8"),
    "objects": (np.array([None]), ValueError, "object, expected uint8"),
    "grey": (ONE[..., 0], ValueError, r"shape \[32, 32\]"),
    "channels first": (ONE.transpose(2, 0, 1), ValueError, r"shape \[3, 32, 32\]"),
    "five axes": (ONE[None, None], ValueError, r"shape \[1, 1, 32, 32, 3\]"),
    "a set in a list": ([ONE[None]], ValueError, r"shape \[1, 32, 32, 3\]"),
    "a scalar": (np.uint8(3), TypeError, "expected uint8 arrays"),
    "no axes": (np.array(3, np.uint8), ValueError, r"shape \[\]"),
    "five channels": (np.zeros((4, 4, 5), np.uint8), ValueError, r"shape \[4, 4, 5\]"),
    "no images": (np.zeros((0, 32, 32, 3), np.uint8), ValueError, "no images"),
    "an empty list": ([], ValueError, "no images"),
    "no pixels": (np.zeros((2, 0, 32, 3), np.uint8), ValueError, "image 0: .*32 x 0 pixels"),
    "a broadcast giant": (np.broadcast_to(ONE[:1, :1], (1 << 20, 1 << 20, 3)), ValueError, "million pixels"),
    "no bytes": (b"", ValueError, "image 0: the picture cannot be used"),
    "other bytes": ([ONE, b"a picture"], ValueError, "image 1: the picture cannot be used"),
    "no file": ("nothing.png", ValueError, "image 0: nothing.png"),
    "a folder": (".", ValueError, "image 0: ."),
    "a zero in a name": ("a\0b", (ValueError, TypeError), "images are str|image 0"),
    "a number": (3, TypeError, "images are int"),
    "nothing": (None, TypeError, "images are NoneType"),
    "numbers": ([1, 2], TypeError, "images are int"),
    "a dictionary": ({"a": ONE}, TypeError, "images are dict"),
    "lists of lists": ([[ONE]], TypeError, "images are list"),
}


@pytest.mark.parametrize("images, error, says", IMAGES.values(), ids=IMAGES)
def test_images(predictor, images, error, says):
    with pytest.raises(error, match=says):
        predictor.predict(images)
    with pytest.raises(error):
        labels = [0] * (len(images) if isinstance(images, list) else 1)
        bayeslora.train(images, labels, CLASSES, **OPTIONS)
    assert len(predictor.predict(ONE)) == 1, "still answers"


def test_a_cut_file(predictor, tmp_path):
    whole = Path(__file__).parents[3] / "tests/fixtures/pictures/lossy.webp"
    cut = tmp_path / "cut.webp"
    cut.write_bytes(whole.read_bytes()[:200])
    assert len(predictor.predict(whole)) == 1
    with pytest.raises(ValueError, match="image 1: .*cut.webp"):
        predictor.predict([whole, cut])


OPTIONS_OF_PREDICT = [
    ({"samples": -1}, "samples is -1"),
    ({"samples": 10_001}, "samples is 10001"),
    ({"temperature": 0.0}, "temperature is 0"),
    ({"temperature": float("nan")}, "temperature is NaN"),
    ({"threshold": 1.5}, "threshold is 1.5"),
    ({"threshold": float("nan")}, "threshold is NaN"),
    ({"batch": 0}, "batch is 0"),
    ({"class_prior": "even"}, "class_prior: even is neither `uniform` nor `train`"),
    ({"class_prior": {"red": 1, "green": 1}}, "class_prior: there is no weight for the class blue"),
    ({"class_prior": {"red": 1, "green": 1, "blue": 1, "blau": 1}}, "know the class blau; the nearest is blue"),
    ({"class_prior": {"red": 1, "green": 0, "blue": 1}}, "the weight of green is 0"),
    ({"class_prior": {"red": 1, "green": float("nan"), "blue": 1}}, "the weight of green is NaN"),
    ({"class_prior": {}}, "there is no weight for the class red"),
    ({"class_prior": "uniform", "temperature": 2.0}, "leave out one of them"),
]


@pytest.mark.parametrize("options, says", OPTIONS_OF_PREDICT)
def test_options_of_predict(predictor, options, says):
    with pytest.raises(ValueError, match=says):
        predictor.predict(ONE, **options)
    assert len(predictor.predict(ONE)) == 1, "still answers"


@pytest.mark.parametrize("prior", [3, 1.5, b"uniform", ["uniform"], {"red": "1"}, {0: 1.0}, {"red": None}])
def test_types_of_class_prior(predictor, prior):
    with pytest.raises(TypeError, match="class_prior"):
        predictor.predict(ONE, class_prior=prior)


def test_an_adapter_that_does_not_say_what_it_was_trained_for(training, tmp_path):
    training.adapter.save(tmp_path)
    file = tmp_path / "bayeslora.json"
    ours = json.loads(file.read_text())
    del ours["class_balance"], ours["sha256"]
    text = json.dumps(ours, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    file.write_text(json.dumps(ours | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))
    assert bayeslora.Adapter.load(tmp_path).trained_for is None
    predictor = bayeslora.Predictor(tmp_path)
    with pytest.raises(ValueError, match="class_prior: the adapter does not say how many training images"):
        predictor.predict(ONE, class_prior="uniform")
    assert len(predictor.predict(ONE)) == 1


OPTIONS_OF_TRAIN = [
    ({"epochs": 0}, ValueError, "`epochs` is 0"),
    ({"epochs": "many"}, ValueError, "epochs: .*integer"),
    ({"epochs": -1}, ValueError, "epochs: "),
    ({"epochs": 2.5}, ValueError, "epochs: "),
    ({"lr": float("nan")}, ValueError, "`lr` is NaN"),
    ({"batch_size": 0}, ValueError, "^`batch_size` is 0"),
    ({"method": "magic"}, ValueError, "method: .*mc-dropout"),
    ({"method": "ensemble"}, ValueError, "member by member"),
    ({"resolution": 0}, ValueError, "`resolution` is 0"),
    ({"targets": ["layer9"]}, ValueError, "layer9"),
    ({"validation": 1.5}, ValueError, "`validation` is 1.5"),
    ({"rank": 0}, ValueError, "`rank` is 0"),
    ({"backbone_bits": 4}, ValueError, "backbone_bits: 4 bits a weight: expected 8 or 32"),
    ({"backbone_bits": -8}, ValueError, "backbone_bits: "),
    ({"backbone_bits": "8"}, ValueError, "backbone_bits: "),
    ({"backbone_bits": None}, ValueError, "backbone_bits: "),
    ({"ranks": 4}, TypeError, "unknown field `ranks`.*`batch_size`"),
    ({"device": "no such thing"}, ValueError, "adapter no such thing"),
    ({"device": 99}, ValueError, "adapter 99"),
    ({"device": -1}, (TypeError, OverflowError), "device"),
    ({"backbone": "nothing.safetensors"}, ValueError, "nothing.safetensors"),
    ({"backbone": __file__}, ValueError, "safetensors"),
    ({"out": __file__}, (ValueError, RuntimeError), "test_refusals.py"),
]


@pytest.mark.parametrize("options, error, says", OPTIONS_OF_TRAIN)
def test_options_of_train(options, error, says):
    with pytest.raises(error, match=says):
        bayeslora.train(*pictures(12), CLASSES, **{**OPTIONS, **options})


LABELS = [
    ([0, 1, 3, 0], ValueError, "image 2 has label 3, and there are 3 classes"),
    ([0, 1, -1, 0], ValueError, "image 2 has label -1"),
    ([0, 1, 1 << 32, 0], ValueError, "image 2 has label 4294967296"),
    ([0, 1, 1 << 80, 0], OverflowError, "large"),
    ([0, 1, 2], ValueError, "4 images and 3 labels"),
    ([], ValueError, "4 images and 0 labels"),
    ([0.0, 1.0, 2.0, 0.0], TypeError, "labels"),
    (np.array([0.0, 1.0, 2.0, np.nan]), TypeError, "labels"),
    (np.zeros((4, 1), int), TypeError, "labels"),
    ("0120", TypeError, "labels"),
    (None, TypeError, "labels"),
]


@pytest.mark.parametrize("labels, error, says", LABELS)
def test_labels(labels, error, says):
    with pytest.raises(error, match=says):
        bayeslora.train(pictures(4)[0], labels, CLASSES, **OPTIONS)


def test_classes():
    images, labels = pictures(6)
    for classes, error in [([], ValueError), ("red", TypeError), ([1, 2, 3], TypeError), (None, TypeError)]:
        with pytest.raises(error):
            bayeslora.train(images, labels, classes, **OPTIONS)


def test_training_that_diverges():
    with pytest.raises(ValueError, match="training diverged; lower `lr` .*`lr_log_alpha`"):
        bayeslora.train(*pictures(12), CLASSES, **OPTIONS, lr=1e3)


def test_a_backbone_that_the_adapter_was_not_trained_on(training, tmp_path):
    with pytest.raises(ValueError, match="nothing"):
        bayeslora.Predictor(training.adapter, backbone=tmp_path / "nothing")


def test_every_error_is_of_the_package():
    assert issubclass(bayeslora.GpuLost, RuntimeError)
    assert bayeslora.GpuLost.__module__ == "bayeslora"
