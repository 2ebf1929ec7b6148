"""Holds adapters that PEFT has trained on transformers' ResNet against the program: `import`, then `predict`.

    python3 -m venv venv
    venv/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0
    cargo build --release
    venv/bin/python tests/interop/peft_transformers.py                # the configuration of microsoft/resnet-18
    venv/bin/python tests/interop/peft_transformers.py --write        # anew: tests/fixtures/transformers, a small one

Weights are random: the network is that of `microsoft/resnet-18`, its answers are not.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/bayeslora"
FIXTURE = ROOT / "tests/fixtures/transformers"
IMAGES, CLASSES = 4, 10
TOLERANCE = 1e-4

# Every way of PEFT's to say which modules, and each with a classifier of its own, LoRA on that of the base, or neither.
ADAPTERS = {
    "names, saved classifier": dict(target_modules=["convolution"], modules_to_save=["classifier"]),
    "ends of names, saved classifier": dict(
        target_modules=["layer.0.convolution", "shortcut.convolution"], modules_to_save=["classifier.1"]
    ),
    "pattern, ranks and alphas by name": dict(
        target_modules=r".*stages\.[23].*\.convolution",
        modules_to_save=["classifier"],
        rank_pattern={"resnet.encoder.stages.3.layers.0.layer.0.convolution": 7, r"stages\.2.*shortcut.convolution": 2},
        alpha_pattern={"shortcut.convolution": 5, "stages.3.layers.1.layer.1.convolution": 20},
    ),
    "excluded, rslora": dict(
        target_modules=["convolution"],
        exclude_modules=r".*(stages\.[01]|embedder).*",
        modules_to_save=["classifier"],
        use_rslora=True,
    ),
    "the classifier of the base": dict(target_modules=["layer.1.convolution"]),
    "LoRA on the classifier of the base": dict(target_modules=["layer.1.convolution", "classifier.1"]),
    "all-linear": dict(target_modules="all-linear"),
}
SMALL = ["pattern, ranks and alphas by name", "LoRA on the classifier of the base"]


def base(hidden, classes):
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=hidden[0], hidden_sizes=hidden, depths=[2, 2, 2, 2], layer_type="basic", num_labels=classes
    )
    model = transformers.ResNetForImageClassification(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0, moderate(module.in_features))
    return rounded(model)


def moderate(features):
    """The deviation of a classifier's weights with which no probability vanishes."""
    return 0.3 * (8 / features) ** 0.5


@torch.no_grad()
def rounded(model):
    """What f16 holds, so that files may be of half the size."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    return model.eval()


@torch.no_grad()
def adapted(model, settings, folder):
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.1)
        if "modules_to_save" in name:
            parameter.normal_(0, moderate(parameter.shape[-1]))
    rounded(model).save_pretrained(folder)
    return model


def pixels(count, side):
    y, x = np.mgrid[:side, :side]
    image = lambda i: np.stack([3 * x + 40 * i, 3 * y, x * y + 7 * i], -1) % 256
    return np.stack([image(i) for i in range(count)]).astype(np.uint8)


@torch.no_grad()
def probabilities(model, images):
    x = torch.tensor(images).permute(0, 3, 1, 2) / 255
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return model(pixel_values=(x - mean) / deviation).logits.double().softmax(1).numpy()


def bayeslora(*words):
    return subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True, text=True).stdout


def check(scratch):
    hidden, side = [64, 128, 256, 512], 224
    base(hidden, CLASSES).save_pretrained(scratch / "base")
    images = pixels(IMAGES, side)
    pictures = [scratch / f"{i}.png" for i in range(IMAGES)]
    for picture, values in zip(pictures, images):
        Image.fromarray(values).save(picture)
    without = probabilities(base(hidden, CLASSES), images)
    for number, (name, settings) in enumerate(ADAPTERS.items()):
        folder, run, out = scratch / f"peft{number}", scratch / f"run{number}", scratch / "p.npy"
        expected = probabilities(adapted(base(hidden, CLASSES), settings, folder), images)
        bayeslora("import", "--peft", folder, "--backbone", scratch / "base", "--resolution", side, "--out", run)
        bayeslora("predict", "--run", run, "--samples", 0, "--probs-out", out, *pictures)
        found = np.load(out).astype(np.float64)
        error, effect = np.abs(found - expected).max(), np.abs(expected - without).max()
        logits = np.abs(centred(found) - centred(expected)).max()
        print(
            f"{name}: logits differ by at most {logits:.1e}, probabilities by {error:.1e} "
            f"(the adapter moves them by {effect:.1e})"
        )
        assert error < TOLERANCE and effect > 100 * TOLERANCE, name


def centred(probabilities):
    """Logits, but for the constant that they leave open."""
    logits = np.log(probabilities)
    return logits - logits.mean(1, keepdims=True)


def write():
    """A base and two adapters of few channels, with the answers of torch."""
    hidden, classes, side = [4, 4, 8, 8], 3, 64
    images = pixels(2, side)
    plain = base(hidden, classes)
    answers = {"base": probabilities(plain, images).tolist()}
    plain.half().save_pretrained(FIXTURE / "base")
    for name, key in zip(SMALL, ["saved", "adapted"]):
        model = adapted(base(hidden, classes), ADAPTERS[name], FIXTURE / key)
        answers[key] = probabilities(model, images).tolist()
        model.half().save_pretrained(FIXTURE / key)
        (FIXTURE / key / "README.md").unlink()
    (FIXTURE / "expected.json").write_text(json.dumps(answers, indent=1) + "\n")


def main():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    if sys.argv[1:] == ["--write"]:
        return write()
    with tempfile.TemporaryDirectory() as path:
        check(Path(path))


main()
