"""Exchanges adapters with the real peft, both ways, on torchvision's ResNet-18.

    python3 -m venv venv && venv/bin/pip install torch torchvision peft safetensors
    venv/bin/python tests/interop/peft_roundtrip.py

Needs cargo: the Rust half is the ignored test `exchange_with_peft` of
`tests/formats.rs`. Last run with peft 0.21.2, torch 2.15.0, torchvision 0.29.2.

From us to peft: peft's logits are compared with y = W * x + s B (A * x), written
here from the raw files with s = lora_alpha / initial_rank of bayeslora.json,
never from the patterns that peft reads. From peft to us: the logits of what
peft saved, and of the same after our load and save, must agree.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import peft
import torch
import torchvision
from safetensors.torch import load_file
from torch.nn.functional import conv2d

ROOT = Path(__file__).resolve().parents[2]
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def backbone(classes=10):
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@torch.no_grad()
def by_peft(directory):
    return peft.PeftModel.from_pretrained(backbone(), directory).eval()(IMAGES)


class Adapted(torch.nn.Module):
    def __init__(self, base, a, b, scale):
        super().__init__()
        self.base, self.a, self.b, self.scale = base, a, b, scale

    def forward(self, x):
        if isinstance(self.base, torch.nn.Linear):
            return self.base(x) + self.scale * (x @ self.a.T) @ self.b.T
        h = conv2d(x, self.a, stride=self.base.stride, padding=self.base.padding)
        return self.base(x) + self.scale * conv2d(h, self.b)


@torch.no_grad()
def by_hand(directory, adapted=True):
    ours = json.loads((directory / "bayeslora.json").read_text())
    peft_file = load_file(directory / "adapter_model.safetensors")
    tensors = {name.removeprefix("base_model.model."): t for name, t in peft_file.items()}
    tensors |= load_file(directory / "bayeslora.safetensors")
    model = backbone(len(ours["classes"]))
    model.fc.weight.copy_(tensors["fc.weight"])
    model.fc.bias.copy_(tensors["fc.bias"])
    scale = ours["lora_alpha"] / ours["initial_rank"]
    for layer in ours["layers"]:
        if layer["rank"] == 0 or not adapted:
            continue
        name = layer["name"]
        parent, _, child = name.rpartition(".")
        a, b = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
        assert a.shape[0] == layer["rank"]
        base = model.get_submodule(name)
        setattr(model.get_submodule(parent), child, Adapted(base, a, b, scale))
    return model(IMAGES)


def save_with_peft(directory, **settings):
    config = peft.LoraConfig(
        r=4,
        lora_alpha=12,
        target_modules=["layer3.0.conv1", "layer4.0.downsample.0", "layer4.1.conv2"],
        modules_to_save=["fc"],
        **settings,
    )
    model = peft.get_peft_model(backbone(), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    model.save_pretrained(directory)


def compare(what, found, expected, without):
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    effect = ((expected - without).abs().max() / expected.abs().max()).item()
    print(f"{what}: relative difference {error:.1e} (the adapter moves the logits by {effect:.1e})")
    assert error < 1e-5 and effect > 1e-2, what


def main():
    with tempfile.TemporaryDirectory() as path:
        root = Path(path)
        patterns = {"rank_pattern": {"layer4.1.conv2": 7}, "alpha_pattern": {"downsample.0": 5}}
        save_with_peft(root / "plain", **patterns)
        save_with_peft(root / "plain_rslora", use_rslora=True)
        test = ["cargo", "test", "--release", "--test", "formats", "exchange_with_peft"]
        environment = os.environ | {"BAYESLORA_PEFT_DIR": path}
        subprocess.run([*test, "--", "--ignored"], cwd=ROOT, env=environment, check=True)
        for name in ["pruned", "ambiguous"]:
            without = by_hand(root / name, adapted=False)
            compare(f"ours -> peft, {name}", by_peft(root / name), by_hand(root / name), without)
        with torch.no_grad():
            without = backbone()(IMAGES)
        for name in ["plain", "plain_rslora"]:
            resaved = by_peft(root / f"{name}_resaved")
            compare(f"peft -> ours -> peft, {name}", resaved, by_peft(root / name), without)


if __name__ == "__main__":
    main()
