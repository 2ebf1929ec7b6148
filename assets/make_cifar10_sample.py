#!/usr/bin/env python3
"""Make the embedded CIFAR-10 sample from the official binary layout.

usage: make_cifar10_sample.py CIFAR_DIR [OUT_DIR]

CIFAR_DIR holds data_batch_1.bin .. data_batch_5.bin and test_batch.bin (one label byte and
3072 planar RGB bytes a record); OUT_DIR defaults to the folder of this script. Writes two
lossless WebP mosaics of 32x32 tiles, ten columns wide: row k holds the k-th image, in file
order, of each of the ten classes, so image i (row by row) has label i mod 10 and no label
file is needed. Needs: pip install numpy pillow
"""
import hashlib
import pathlib
import sys

import numpy as np
from PIL import Image

CLASSES, SIDE = 10, 32
TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]
TEST = ["test_batch.bin"]


def first_of_each_class(directory: pathlib.Path, names: list[str], per_class: int) -> np.ndarray:
    """The first `per_class` images of each class as [per_class, class, row, column, channel]."""
    raw = np.concatenate([np.fromfile(directory / name, np.uint8) for name in names])
    records = raw.reshape(-1, 1 + 3 * SIDE * SIDE)
    images = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    chosen = [np.flatnonzero(records[:, 0] == c)[:per_class] for c in range(CLASSES)]
    return images[np.stack(chosen, axis=1)]


def write(path: pathlib.Path, images: np.ndarray) -> None:
    mosaic = images.transpose(0, 2, 1, 3, 4).reshape(len(images) * SIDE, CLASSES * SIDE, 3)
    Image.fromarray(mosaic).save(path, lossless=True, quality=100, method=6)
    if not np.array_equal(np.asarray(Image.open(path)), mosaic):
        sys.exit(f"{path}: decodes to other pixels")
    print(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    print("  pixels, image by image", hashlib.sha256(images.tobytes()).hexdigest())


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else pathlib.Path(__file__).parent
    # 500 rows of 32 pixels are 16,000, just within WebP's 16,383.
    write(out / "cifar10-sample-train.webp", first_of_each_class(source, TRAIN, 500))
    write(out / "cifar10-sample-test.webp", first_of_each_class(source, TEST, 100))


main()
