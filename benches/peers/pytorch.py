#!/usr/bin/env python3
"""PyTorch on the work of `bayeslora bench`.

ResNet-18 with frozen weights, BatchNorm as its frozen affine map, rank-r adapters with Gaussian rank
gates on layer3 and layer4, AdamW on adapters, gates and head. Four steps: forward (backbone alone),
training step from images, training step from cached features, Monte Carlo predictive (as a plain loop
over the samples, and with the frozen prefix computed once). Uploads of u8 images of 32x32, resizing and
reading back predictions are included, as they are in `bayeslora bench`.

On the CPU the columns are NCHW and channels-last, both f32. On CUDA all are channels-last: strict f32,
TF32, and bf16 autocast. Medians of --runs runs after a warm-up.
"""

import argparse
import datetime
import json
import platform
import statistics
import sys
import time

import torch
import torch.nn.functional as F

WIDTHS = (64, 128, 256, 512)
CLASSES = 10
SCALE = 2.0  # s = lora_alpha / r
SIDE = 32  # of the images as stored


class Conv(torch.nn.Module):
    """y = g (W * x + s B (z (A * x))) + b; g, b and W frozen."""

    def __init__(self, inputs, outputs, kernel, stride, rank):
        super().__init__()
        fan_in = inputs * kernel * kernel
        self.stride, self.pad = stride, kernel // 2
        self.register_buffer("weight", torch.randn(outputs, inputs, kernel, kernel) * (2 / fan_in) ** 0.5)
        self.register_buffer("gain", torch.ones(1, outputs, 1, 1))
        self.register_buffer("bias", torch.zeros(1, outputs, 1, 1))
        self.rank = rank
        if rank:
            self.a = torch.nn.Parameter(torch.randn(rank, inputs, kernel, kernel) * fan_in**-0.5)
            self.b = torch.nn.Parameter(torch.zeros(outputs, rank, 1, 1))
            self.log_alpha = torch.nn.Parameter(torch.full((1, rank, 1, 1), -5.0))

    def forward(self, x):
        y = F.conv2d(x, self.weight, None, self.stride, self.pad)
        if self.rank:
            h = F.conv2d(x, self.a, None, self.stride, self.pad)
            noise = torch.randn(h.shape[0], self.rank, 1, 1, device=h.device)
            z = 1 + (0.5 * self.log_alpha).exp() * noise
            y = y + SCALE * F.conv2d(h * z, self.b)
        return y * self.gain + self.bias


class Block(torch.nn.Module):
    def __init__(self, inputs, outputs, stride, rank):
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride, rank)
        self.conv2 = Conv(outputs, outputs, 3, 1, rank)
        self.down = Conv(inputs, outputs, 1, stride, rank) if inputs != outputs else None

    def forward(self, x):
        inner = self.conv2(F.relu(self.conv1(x)))
        return F.relu(inner + (x if self.down is None else self.down(x)))


class Network(torch.nn.Module):
    def __init__(self, rank):
        super().__init__()
        self.stem = Conv(3, WIDTHS[0], 7, 2, 0)
        stages, inputs = [], WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            adapted = rank if stage >= 2 else 0
            stages += [Block(inputs, width, 1 if stage == 0 else 2, adapted), Block(width, width, 1, adapted)]
            inputs = width
        self.below, self.above = torch.nn.Sequential(*stages[:4]), torch.nn.Sequential(*stages[4:])
        self.head = torch.nn.Linear(WIDTHS[-1], CLASSES)

    def prefix(self, x):
        return self.below(F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1))

    def suffix(self, x):
        return self.head(self.above(x).mean((2, 3)))


class Bench:
    def __init__(self, args, device, channels_last, autocast):
        self.args, self.device, self.autocast = args, device, autocast
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        place = {"device": device, "memory_format": self.format}
        self.plain = Network(0).to(**place).eval()
        self.model = Network(args.rank).to(**place)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01, fused=device == "cuda")
        self.images = torch.randint(0, 256, (args.batch, SIDE, SIDE, 3), dtype=torch.uint8)
        self.labels = torch.randint(0, CLASSES, (args.batch,))
        with torch.no_grad(), self.precision():
            self.features = self.model.prefix(self.upload()).half().cpu()
        if device == "cuda":
            self.images, self.features = self.images.pin_memory(), self.features.pin_memory()

    def precision(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.autocast)

    def upload(self):
        x = self.images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
        x = (x - 0.45) / 0.25
        if self.args.size != SIDE:
            x = F.interpolate(x, size=(self.args.size,) * 2, mode="bilinear", align_corners=False)
        return x.to(memory_format=self.format)

    def forward(self):
        with torch.no_grad(), self.precision():
            return self.plain.suffix(self.plain.prefix(self.upload())).float().log_softmax(1).cpu()

    def step(self, features):
        with self.precision():
            loss = F.cross_entropy(self.model.suffix(features()), self.labels.to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def below(self):
        with torch.no_grad():
            return self.model.prefix(self.upload())

    def train(self):
        self.step(self.below)

    def train_cached(self):
        self.step(lambda: self.features.to(self.device, non_blocking=True).float().contiguous(memory_format=self.format))

    def average(self, logits):
        return (torch.logsumexp(torch.stack(logits).float().log_softmax(2), 0)).cpu()

    def predictive(self):
        with torch.no_grad(), self.precision():
            x = self.upload()
            return self.average([self.model.suffix(self.model.prefix(x)) for _ in range(self.args.samples)])

    def predictive_once(self):
        with torch.no_grad(), self.precision():
            x = self.model.prefix(self.upload())
            return self.average([self.model.suffix(x) for _ in range(self.args.samples)])

    def measure(self, run):
        def once():
            start = time.perf_counter()
            run()
            if self.device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - start

        for _ in range(3):
            once()
        rates = sorted(self.args.batch / once() for _ in range(self.args.runs))
        low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
        return {"images_per_second": middle, "low": low, "high": high, "runs": len(rates)}


STEPS = ("forward", "train", "train_cached", "predictive", "predictive_once")


def columns(device):
    """Name, channels-last, TF32, bf16 autocast."""
    if device == "cuda":
        return [("f32", True, False, False), ("TF32", True, True, False), ("bf16 autocast", True, False, True)]
    return [("NCHW", False, False, False), ("channels-last", True, False, False)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=64, help="side of the network's input")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8, help="of the predictive")
    parser.add_argument("--runs", type=int, default=11, help="at least 5")
    parser.add_argument("--out", help="also write the JSON object to this file")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    args = parser.parse_args()
    if args.runs < 5:
        parser.error("--runs is below 5")
    torch.manual_seed(1)
    results = {}
    for name, channels_last, tf32, autocast in columns(args.device):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        bench = Bench(args, args.device, channels_last, autocast)
        results[name] = {}
        for step in STEPS:
            print(f"{name}: {step}", file=sys.stderr)
            results[name][step] = bench.measure(getattr(bench, step))
    cuda = args.device == "cuda"
    report = {
        "engine": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "settings": {k: getattr(args, k) for k in ("batch", "size", "rank", "samples", "runs")},
        "results": results,
    }
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
    if args.json:
        print(json.dumps(report))
        return
    print(f"{report['engine']} on {args.device} ({report['device']}), batch {args.batch}, {args.size}x{args.size}, "
          f"rank {args.rank}, {args.samples} samples; images/s, medians of {args.runs}")
    print(f"{'':18}" + "".join(f"{name:>16}" for name in results))
    for step in STEPS:
        print(f"{step:18}" + "".join(f"{column[step]['images_per_second']:16.0f}" for column in results.values()))


if __name__ == "__main__":
    main()
