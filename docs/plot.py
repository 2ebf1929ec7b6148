#!/usr/bin/env python3
"""Draw an SVG that suits light and dark pages, of training runs or of cuts. Needs nothing but Python.

usage: plot.py training NAME=RUN [NAME=RUN ...] > training.svg      accuracy and ranks over the epochs
       plot.py cuts NAME=FILE.json [NAME=FILE.json ...] > cuts.svg  NLL and accuracy against the ranks left

RUN is a run directory of `bayeslora train`, FILE.json what `bayeslora prune --dry-run --json` printed.
"""
import json
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 720, 250, 64, 170, 28, 46
# Those of src/report/theme.rs, on white and on black; a name is of the first kind whose word it has.
COLOURS = {
    "bayeslora": ("BayesLoRA", "#0068b0", "#5db4f2"),
    "lora": ("LoRA", "#c94f00", "#ff9350"),
    "as-trained": ("as trained", "#7a4b2a", "#cfa787"),
    "svd": ("singular", "#00808c", "#52c8d4"),
    "evidence": ("evidence", "#b3122f", "#ff8795"),
    "other": ("", "#6b4fb3", "#b7a2f5"),
}
LIGHT = "".join(f" .c-{kind} {{ color: {light} }}" for kind, (_, light, _) in COLOURS.items())
DARK = "".join(f" .c-{kind} {{ color: {dark} }}" for kind, (_, _, dark) in COLOURS.items())
STYLE = f"""<style>
 text {{ font: 13px system-ui, sans-serif; fill: #555 }} .t {{ font-weight: 600 }} .n {{ fill: currentColor }}
 .g {{ stroke: #8884; }} .l {{ fill: none; stroke-width: 2.5; stroke-linejoin: round }}
{LIGHT}
 @media (prefers-color-scheme: dark) {{ text {{ fill: #bbb }} .n {{ fill: currentColor }}{DARK} }}
</style>"""


def colour(name):
    return next(kind for kind, (word, _, _) in COLOURS.items() if word in name)


def ticks(low, high):
    """At most six round numbers between two values."""
    step = next(s for e in range(-4, 5) for s in (10.0**e, 2 * 10.0**e, 5 * 10.0**e) if (high - low) / s <= 5)
    first = -(-low // step)
    return [round((first + i) * step, 6) for i in range(6) if (first + i) * step <= high + 1e-9]


def panel(top, title, series, columns):
    """One chart: series are (name, colour, dashed, points, standard errors or None); columns are the labelled x, in order."""
    lows = [v - (e or 0) for _, _, _, points, errors in series for (_, v), e in zip(points, errors or [0] * len(points))]
    highs = [v + (e or 0) for _, _, _, points, errors in series for (_, v), e in zip(points, errors or [0] * len(points))]
    pad = 0.08 * (max(highs) - min(lows) or 1)
    low, high = min(lows) - pad, max(highs) + pad
    x = lambda e: LEFT + (WIDTH - LEFT - RIGHT) * (e - columns[0]) / ((columns[-1] - columns[0]) or 1)
    y = lambda v: top + HEIGHT - HEIGHT * (v - low) / (high - low)
    out = [f'<text class="t" x="{LEFT}" y="{top - 10}">{title}</text>']
    for v in ticks(low, high):
        out.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    for e in columns:
        out.append(f'<text x="{x(e):.1f}" y="{top + HEIGHT + 18}" text-anchor="middle">{e}</text>')
    labels = []
    for name, colour, dashed, points, errors in series:
        line = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        for (e, v), error in zip(points, errors or []):
            out.append(f'<line class="c-{colour}" stroke="currentColor" stroke-width="1.5" x1="{x(e):.1f}" x2="{x(e):.1f}" y1="{y(v - error):.1f}" y2="{y(v + error):.1f}"/>')
        out.append(f'<polyline class="l c-{colour}" stroke="currentColor"{dash} points="{line}"/>')
        out += [f'<circle cx="{x(e):.1f}" cy="{y(v):.1f}" r="3.5" class="c-{colour}" fill="currentColor"/>' for e, v in points]
        labels.append([y(points[-1][1]) + 4, colour, name])
    labels.sort()
    for above, label in zip(labels, labels[1:]):
        label[0] = max(label[0], above[0] + 16)
    out += [f'<text x="{WIDTH - RIGHT + 12}" y="{at:.1f}" class="n c-{c}">{name}</text>' for at, c, name in labels]
    return out


def training(runs):
    runs = [(name, [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]) for name, path in runs]
    over_epochs = lambda lines, value: [(e + 1, value(line)) for e, line in enumerate(lines)]
    columns = range(1, max(len(lines) for _, lines in runs) + 1)
    coloured = [(name, lines, colour(name)) for name, lines in runs]
    accuracy = [(n, c, False, over_epochs(lines, lambda l: 100 * l["accuracy"]), None) for n, lines, c in coloured]
    ranks = [(f"{n}, ranks left", c, False, over_epochs(lines, lambda l: l["rank"]), None) for n, lines, c in coloured]
    ranks += [
        (f"{n}, soft rank", c, True, over_epochs(lines, lambda l: l["soft_rank"]), None)
        for n, lines, c in coloured
        if any(abs(l["soft_rank"] - l["rank"]) > 0.01 for l in lines)
    ]
    return "epoch", columns, [
        ("Validation accuracy, %, mean weights", accuracy),
        ("Ranks of all adapters together; soft rank is the sum of 1/(1+alpha)", ranks),
    ]


def cuts(files):
    curves = [(name, json.loads(path.read_text())["curve"], colour(name)) for name, path in files]
    columns = sorted({cut["ranks"] for _, curve, _ in curves for cut in curve if cut["ranks"]})
    points = lambda curve, value: [(cut["ranks"], value(cut)) for cut in sorted(curve, key=lambda cut: -cut["ranks"]) if cut["ranks"]]
    errors = lambda curve: [1.96 * (e or 0) for _, e in points(curve, lambda cut: cut["nll_change_se"])]
    nll = [(n, c, False, points(curve, lambda cut: cut["nll_change"]), errors(curve)) for n, curve, c in curves]
    accuracy = [(n, c, False, points(curve, lambda cut: 100 * cut["accuracy"]), None) for n, curve, c in curves]
    return "ranks left", columns[::-1], [
        ("What the cut adds to the NLL, with 95 % intervals", nll),
        ("Accuracy, %", accuracy),
    ]


def main():
    drawings = {"training": training, "cuts": cuts}
    if len(sys.argv) < 3 or sys.argv[1] not in drawings or not all("=" in argument for argument in sys.argv[2:]):
        sys.exit(__doc__)
    named = [argument.split("=", 1) for argument in sys.argv[2:]]
    axis, columns, panels = drawings[sys.argv[1]]([(name, pathlib.Path(path)) for name, path in named])
    height = TOP + 2 * HEIGHT + 2 * GAP + 10
    body = []
    for number, (title, series) in enumerate(panels):
        body += panel(TOP + number * (HEIGHT + GAP + 10), title, series, columns)
    body.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 4}" text-anchor="middle">{axis}</text>')
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">')
    print(STYLE, *body, "</svg>", sep="\n")


main()
