#!/usr/bin/env python3
"""Draw accuracy and ranks over the epochs of training runs as an SVG that suits light and dark pages.

usage: plot_training.py NAME=RUN [NAME=RUN ...] > training.svg

RUN is a run directory of `bayeslora train`. Needs nothing but Python.
"""
import json
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 720, 250, 64, 170, 28, 46
COLOURS = ["#d9730d", "#2f7ed8", "#3f9c5a", "#a65db5"]
STYLE = """<style>
 text { font: 13px system-ui, sans-serif; fill: #555 } .t { font-weight: 600 }
 .g { stroke: #8884; } .l { fill: none; stroke-width: 2.5; stroke-linejoin: round }
 @media (prefers-color-scheme: dark) { text { fill: #bbb } }
</style>"""


def ticks(low, high):
    """At most six round numbers between two values."""
    step = next(s for e in range(-4, 5) for s in (10.0**e, 2 * 10.0**e, 5 * 10.0**e) if (high - low) / s <= 5)
    first = -(-low // step)
    return [round((first + i) * step, 6) for i in range(6) if (first + i) * step <= high + 1e-9]


def panel(top, title, series, epochs):
    """One chart: series are (name, colour, dashed, values by epoch)."""
    values = [v for _, _, _, line in series for v in line]
    pad = 0.08 * (max(values) - min(values) or 1)
    low, high = min(values) - pad, max(values) + pad
    x = lambda e: LEFT + (WIDTH - LEFT - RIGHT) * (e - 1) / max(epochs - 1, 1)
    y = lambda v: top + HEIGHT - HEIGHT * (v - low) / (high - low)
    out = [f'<text class="t" x="{LEFT}" y="{top - 10}">{title}</text>']
    for v in ticks(low, high):
        out.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    for e in range(1, epochs + 1):
        out.append(f'<text x="{x(e):.1f}" y="{top + HEIGHT + 18}" text-anchor="middle">{e}</text>')
    labels = []
    for name, colour, dashed, line in series:
        points = " ".join(f"{x(e + 1):.1f},{y(v):.1f}" for e, v in enumerate(line))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        out.append(f'<polyline class="l" stroke="{colour}"{dash} points="{points}"/>')
        out += [f'<circle cx="{x(e + 1):.1f}" cy="{y(v):.1f}" r="3.5" fill="{colour}"/>' for e, v in enumerate(line)]
        labels.append([y(line[-1]) + 4, colour, name])
    labels.sort()
    for above, label in zip(labels, labels[1:]):
        label[0] = max(label[0], above[0] + 16)
    out += [f'<text x="{WIDTH - RIGHT + 12}" y="{at:.1f}" style="fill:{c}">{name}</text>' for at, c, name in labels]
    return out


def main():
    if len(sys.argv) < 2 or "=" not in sys.argv[1]:
        sys.exit(__doc__)
    runs = []
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        lines = (pathlib.Path(path) / "metrics.jsonl").read_text().splitlines()
        runs.append((name, [json.loads(line) for line in lines]))
    epochs = max(len(lines) for _, lines in runs)
    accuracy = [(n, c, False, [100 * l["accuracy"] for l in lines]) for (n, lines), c in zip(runs, COLOURS)]
    ranks = [(f"{n}, ranks left", c, False, [l["rank"] for l in lines]) for (n, lines), c in zip(runs, COLOURS)]
    ranks += [
        (f"{n}, soft rank", c, True, [l["soft_rank"] for l in lines])
        for (n, lines), c in zip(runs, COLOURS)
        if any(abs(l["soft_rank"] - l["rank"]) > 0.01 for l in lines)
    ]
    height = TOP + 2 * HEIGHT + 2 * GAP + 10
    body = panel(TOP, "Validation accuracy, %, mean weights", accuracy, epochs)
    body += panel(TOP + HEIGHT + GAP + 10, "Ranks of all adapters together; soft rank is the sum of 1/(1+alpha)", ranks, epochs)
    body.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 4}" text-anchor="middle">epoch</text>')
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">')
    print(STYLE, *body, "</svg>", sep="\n")


main()
