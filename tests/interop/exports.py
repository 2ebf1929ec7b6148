"""Holds what `bayeslora export` writes against the program itself: ONNX graphs in onnxruntime, and the PEFT folder and the
merged backbone in torch.

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 pillow==13.0.0 onnx==1.23.2 onnxruntime==1.32.0
    venv/bin/pip install torch==2.15.0 torchvision==0.29.2 peft==0.21.2 safetensors==0.8.0  # for --format peft, merged
    cargo build --release
    venv/bin/python tests/interop/exports.py

Runs are trained on the sample for a minute each, or named: `exports.py RUN ...`. The noise of the gates is drawn here, from
the documented key of Philox and Box-Muller in f64, so that the graph's samples are those of `predict --samples`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/bayeslora"
SAMPLES, SEED, IMAGES = 5, 7, 6
TRAIN = "train --data sample --limit-train 200 --limit-test 20 --epochs 2 --rank 3 --resolution 32 --lr 0.01 --validation 0"
RUNS = {
    "bayeslora": "--targets layer3.1,layer4,fc",
    "head-only": "--targets fc",
    "mc-dropout": "--method mc-dropout --targets layer4.1 --dropout 0.4",
    "lora": "--method lora --targets conv1,layer2.0",
}
TOLERANCE = 1e-5


def bayeslora(*words):
    line = [PROGRAM, *" ".join(map(str, words[:1])).split(), *map(str, words[1:])]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def philox(counter, key):
    """Philox4x32-10 of one counter."""
    c, k = [int(word) for word in counter], list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def noise(layers, uniform):
    """[samples, 1, ranks] as `predict` draws it: gates shared by all images."""
    ranks = sum(len(layer["rank_ids"]) for layer in layers)
    drawn = np.zeros((SAMPLES, 1, ranks))
    for sample in range(SAMPLES):
        for layer in layers:
            for place, rank in enumerate(layer["rank_ids"]):
                counter = (0xFFFFFFFF, sample, layer["number"] * 65536 + rank // 4, 1)
                u = (np.array(philox(counter, (SEED, 0)), np.float64) + 0.5) / 2**32
                if uniform:
                    value = u[rank % 4]
                else:
                    pair = u[2 * (rank % 4 // 2) :][:2]
                    turn = np.cos if rank % 2 == 0 else np.sin
                    value = np.sqrt(-2 * np.log(pair[0])) * turn(2 * np.pi * pair[1])
                drawn[sample, 0, layer["start"] + place] = value
    return drawn


def predicted(run, pictures, samples, out):
    bayeslora("predict", "--run", run, "--samples", samples, "--seed", SEED, "--probs-out", out, *pictures)
    return np.load(out)


def session(folder):
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return onnxruntime.InferenceSession(folder / "model.onnx"), metadata


def compare(what, found, expected, without):
    error, effect = np.abs(found - expected).max(), np.abs(expected - without).max()
    print(f"{what}: probabilities differ by at most {error:.1e} (what is checked moves them by {effect:.1e})")
    assert error < TOLERANCE, what


def check_onnx(name, run, pixels, pictures, scratch):
    folder = scratch / "onnx"
    bayeslora("export", "--run", run, "--to", folder, "--format", "onnx")
    graph, metadata = session(folder)
    mean = predicted(run, pictures, 0, scratch / "p.npy")
    logits, found = graph.run(None, {"images": pixels})
    assert json.loads(metadata["classes"]) and logits.shape == mean.shape
    compare(f"{name}, onnx, mean", found, mean, np.full_like(mean, 1 / mean.shape[1]))
    if metadata["method"] == "lora":
        return mean
    bayeslora("export", "--run", run, "--to", folder, "--format", "onnx", "--samples", SAMPLES)
    graph, metadata = session(folder)
    drawn = noise(json.loads(metadata["noise_layers"]), metadata["noise"].startswith("uniform"))
    drawn = np.repeat(drawn, len(pixels), axis=1).astype(np.float32)
    logits, found = graph.run(None, {"images": pixels, "noise": drawn})
    assert logits.shape == (SAMPLES, *mean.shape)
    expected = predicted(run, pictures, SAMPLES, scratch / "p.npy")
    compare(f"{name}, onnx, {SAMPLES} samples", found, expected, mean)
    return mean


def check_torch(name, run, pixels, mean, scratch):
    """The snippets of the cards, on the embedded backbone's stem."""
    import peft
    import torch
    import torchvision
    from safetensors.torch import load_file

    x = torch.tensor(pixels).permute(0, 3, 1, 2) / 255
    statistics = [torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    x = (x - statistics[0]) / statistics[1]

    def network(weights):
        base = torchvision.models.resnet18(num_classes=mean.shape[1])
        if weights["conv1.weight"].shape[-1] == 3:
            base.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
            base.maxpool = torch.nn.Identity()
        return base

    @torch.no_grad()
    def probabilities(model):
        return model.eval()(x).softmax(1).numpy()

    weights = load_file(ROOT / "assets/resnet18-cifar100-tin200-64px.safetensors")
    weights = {n: t.float() for n, t in weights.items() if not n.startswith("fc.")}
    folder = scratch / "torch"
    bayeslora("export", "--run", run, "--to", folder, "--format", "merged")
    merged = load_file(folder / "model.safetensors")
    model = network(merged)
    model.load_state_dict(merged)
    head = {n: merged[n] for n in ("fc.weight", "fc.bias")}
    plain = network(merged)
    plain.load_state_dict(weights | head)
    without = probabilities(plain)
    compare(f"{name}, merged", probabilities(model), mean, without)
    if name == "head-only":
        return
    bayeslora("export", "--run", run, "--to", folder, "--format", "peft")
    base = network(weights)
    base.load_state_dict(weights, strict=False)
    model = peft.PeftModel.from_pretrained(base, folder)
    compare(f"{name}, peft", probabilities(model), mean, without)


def main():
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, numpy {np.__version__}")
    try:
        import peft, torch

        print(f"torch {torch.__version__}, peft {peft.__version__}")
        with_torch = True
    except ImportError as error:
        print(f"without torch and peft ({error}): --format peft and merged are not checked")
        with_torch = False
    with tempfile.TemporaryDirectory() as path:
        scratch = Path(path)
        runs = {Path(run).name: Path(run) for run in sys.argv[1:]}
        if not runs:
            for name, options in RUNS.items():
                runs[name] = scratch / name
                bayeslora(f"{TRAIN} {options} --out", runs[name])
        for name, run in runs.items():
            side = json.loads((run / "adapter/bayeslora.json").read_text())["resolution"]
            random = np.random.default_rng(3)
            coarse = random.integers(0, 256, (IMAGES, 4, 4, 3), np.uint8)
            pixels = np.stack([np.asarray(Image.fromarray(c).resize((side, side))) for c in coarse])
            pictures = [scratch / f"{i}.png" for i in range(IMAGES)]
            for picture, values in zip(pictures, pixels):
                Image.fromarray(values).save(picture)
            mean = check_onnx(name, run, pixels, pictures, scratch)
            if with_torch:
                check_torch(name, run, pixels, mean, scratch)


main()
