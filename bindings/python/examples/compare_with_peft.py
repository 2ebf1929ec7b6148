"""Compares the answers of an adapter with those of PyTorch and peft on the same files.

    pip install . torch torchvision peft safetensors
    python examples/compare_with_peft.py

A small adapter is trained and saved; peft loads it onto torchvision's ResNet-18 with the same backbone; both answer with the mean
weights, since peft knows no gates. The frozen network of the package is a file in the repository's `assets`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import peft
import torch
import torchvision
from safetensors.torch import load_file

import bayeslora

ASSETS = Path(__file__).resolve().parents[3] / "assets"
BACKBONE = ASSETS / "resnet18-cifar100-tin200-64px.safetensors"
SIDE = 64
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def pictures(count: int, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """Stripes in three directions, under noise: uint8 [count, SIDE, SIDE, 3] and labels [count]."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    y, x = np.mgrid[:SIDE, :SIDE]
    across = np.stack([x, y, x + y])[labels]
    waves = 60 * np.sin(across * draw.uniform(0.3, 0.8, (count, 1, 1)))
    return (128 + waves[..., None] + draw.normal(0, 40, (count, SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8), labels


def by_peft(directory: str, classes: int) -> torch.nn.Module:
    model = torchvision.models.resnet18(num_classes=classes)
    weights = {name: tensor.float() for name, tensor in load_file(BACKBONE).items() if not name.startswith("fc.")}
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys and all("fc." in key or "num_batches" in key for key in left.missing_keys)
    return peft.PeftModel.from_pretrained(model, directory).eval()


@torch.no_grad()
def probabilities(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    return model((pixels - MEAN) / DEVIATION).softmax(1).numpy()


def seconds(work) -> float:
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapter", help="the directory of an adapter or a run at 64 pixels [default: one is trained]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if given.adapter:
            adapter = bayeslora.Adapter.load(given.adapter)
        else:
            adapter = bayeslora.train(*pictures(120, 1), ["|", "-", "/"], epochs=3).adapter
        adapter.save(place)
        model = by_peft(place, len(adapter.classes))
        images, labels = pictures(64, 2)
        predictor = bayeslora.Predictor(place)
        ours, theirs = predictor.predict(images, samples=0, batch=64).probabilities, probabilities(model, images)
        with model.disable_adapter():
            without = probabilities(model, images)
        print(f"{adapter} on {predictor.device}; torch {torch.__version__}, peft {peft.__version__}")
        print(f"largest difference of a probability: {np.abs(ours - theirs).max():.1e}")
        print(f"without the adapter it would be:     {np.abs(ours - without).max():.1e}")
        if not given.adapter:
            print(f"accuracy: {(ours.argmax(1) == labels).mean():.3f}, peft {(theirs.argmax(1) == labels).mean():.3f}")
        for name, work in {
            "bayeslora, mean weights": lambda: predictor.predict(images, samples=0, batch=64),
            "bayeslora, 8 samples": lambda: predictor.predict(images, samples=8, batch=64),
            "peft and torch, mean weights": lambda: probabilities(model, images),
        }.items():
            print(f"{name + ':':30} {1000 * seconds(work):6.0f} ms for {len(images)} images")
        assert np.abs(ours - theirs).max() < 1e-4 < np.abs(ours - without).max()


if __name__ == "__main__":
    main()
