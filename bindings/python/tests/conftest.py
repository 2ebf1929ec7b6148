"""A training of seconds, on pictures of 32 x 32 pixels in three colours."""

import numpy as np
import pytest

import bayeslora

SIDE = 32
CLASSES = ["red", "green", "blue"]
OPTIONS = {"resolution": SIDE, "epochs": 2, "rank": 3, "batch_size": 8, "validation": 0.25}


def pictures(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = noise.integers(0, 120, (count, SIDE, SIDE, 3), dtype=np.uint8)
    images[np.arange(count), :, :, labels] += 100
    return images, labels


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return pictures(5, seed=2)[0]


@pytest.fixture(scope="session")
def training(tmp_path_factory) -> bayeslora.Training:
    out = tmp_path_factory.mktemp("trained") / "adapter"
    return bayeslora.train(*pictures(24), CLASSES, out=out, lr=5e-3, **OPTIONS)


@pytest.fixture(scope="session")
def predictor(training) -> bayeslora.Predictor:
    return bayeslora.Predictor(training.adapter)
