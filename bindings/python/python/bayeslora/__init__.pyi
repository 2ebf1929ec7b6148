"""Bayesian low-rank adapters on GPUs and CPUs through WebGPU.

Wrong input raises `ValueError` (an unknown keyword or another type `TypeError`), a device that is gone `GpuLost`, and what
fails around the program `RuntimeError`. Work releases the interpreter and hears Ctrl-C.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict, Union, final

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeAlias, Unpack

__all__ = [
    "Adapter",
    "Device",
    "GpuLost",
    "Prediction",
    "Predictor",
    "Progress",
    "Training",
    "__version__",
    "devices",
    "train",
]

__version__: str

_Path: TypeAlias = Union[str, PathLike[str]]
_Image: TypeAlias = Union[npt.NDArray[np.uint8], _Path, bytes]
_Images: TypeAlias = Union[_Image, Sequence[_Image]]
"""uint8 `[n, height, width, 3]` or `[height, width, 3]` (sRGB; with 4, RGB and alpha, not premultiplied), in any strides; the
path of a PNG, JPEG, WebP, BMP, TIFF or GIF file, or its bytes; or a list of these, of any sizes. The network sees the middle
square, resized."""

_Device: TypeAlias = Union[str, int]
"""A part of its name, "cpu" or "gpu", or its index in `devices()`. Default: the best there is."""

class GpuLost(RuntimeError):
    """The device is gone; what was made on it is of no use any more."""

@final
class Device:
    """A device that work can run on."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def software(self) -> bool:
        """Whether it is the CPU, such as Mesa's llvmpipe."""

def devices() -> list[Device]:
    """The devices of this system, the best first."""

@final
class Adapter:
    """A trained adapter: its ranks, its gates and its head."""

    @staticmethod
    def load(path: _Path) -> Adapter:
        """Reads the directory of an adapter, as `save` and peft write it, or that of a run."""

    def save(self, path: _Path) -> None:
        """Writes a directory that peft loads too, in the place of the adapter that is there."""

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of their labels."""

    @property
    def trained_for(self) -> dict[str, float] | None:
        """The share of each class that its answers have as their prior: that of the training images, or what `class_weights`
        and a balanced `sampler` made of it; None where the file does not say."""

    @property
    def method(self) -> str:
        """How it was trained, such as "bayeslora" or "lora"."""

    @property
    def ranks(self) -> dict[str, int]:
        """Ranks left of each adapted layer."""

    @property
    def initial_rank(self) -> int:
        """Ranks of every layer before any was cut."""

    @property
    def scalars(self) -> int:
        """Trained numbers of all layers; the head is not counted."""

    @property
    def resolution(self) -> int | None:
        """Side of the network's input in pixels; None where the file does not say."""

    @property
    def draws(self) -> bool:
        """Whether it has gates, or weights, to draw: if not, every sample is the mean."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Prediction:
    """What a predictor says of `n` images."""

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """`[n, classes]`: the predictive, which is the mean over the samples, under the class prior or at the temperature."""

    @property
    def std(self) -> npt.NDArray[np.float32]:
        """`[n, classes]`: standard deviation of each probability over the samples, under the class prior but before any
        temperature."""

    @property
    def entropy(self) -> npt.NDArray[np.float32]:
        """`[n]`: of the predictive, in nats."""

    @property
    def mutual_information(self) -> npt.NDArray[np.float32]:
        """`[n]`: the part of the entropy that comes from the samples' disagreement, in nats."""

    @property
    def abstains(self) -> npt.NDArray[np.bool_]:
        """`[n]`: whether the largest probability is below the threshold or, before any temperature, below the one that
        `bayeslora calibrate --max-risk` has chosen for these samples and this seed; under another class prior than that of
        training it has chosen none."""

    @property
    def prediction_sets(self) -> list[list[str]] | None:
        """`n` lists of class names, the most probable first, with the coverage of `bayeslora calibrate --coverage`; None if
        that has not been run for these samples and this seed, or under another class prior than that of training."""

    @property
    def unfamiliar(self) -> npt.NDArray[np.bool_] | None:
        """`[n]`: whether an image looks like nothing that the run was trained on; None if `bayeslora calibrate --false-alarms`
        has not been run."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """`[n]`: the most probable class, abstaining or not."""

    @property
    def top(self) -> list[str]:
        """Its name, `n` of them."""

    @property
    def classes(self) -> list[str]:
        """Names of the columns of `probabilities`."""

    def __len__(self) -> int: ...

@final
class Predictor:
    """An adapter on its backbone, ready to answer; the second call of a size is faster than the first.

    Threads may share it, and take turns.
    """

    def __new__(
        cls,
        source: Adapter | _Path,
        *,
        backbone: _Path | None = None,
        device: _Device | None = None,
    ) -> Predictor:
        """Opens a run's directory, an adapter's, or an `Adapter`.

        `backbone` is a file of safetensors or PyTorch, or "embedded", the one inside the package. Default: that of
        the run, else the embedded one.
        """

    def predict(
        self,
        images: _Images,
        samples: int = 8,
        temperature: float | None = None,
        *,
        class_prior: Literal["uniform", "train"] | Mapping[str, float] | None = None,
        threshold: float = 0.0,
        seed: int = 1,
        batch: int = 16,
    ) -> Prediction:
        """Answers about one image or several.

        `samples` are draws of the gates, the same for every image, by `seed`; 0 takes the mean weights. Logits are divided by
        `temperature`; None takes the one that was fitted to the run for as many samples, if there is one. Where the most
        probable class is less so than `threshold`, the answer abstains. `batch` images are computed at a time.

        `class_prior` is how frequent the classes are where the images come from, if not as in training: all alike ("uniform"),
        as among the training images ("train"), or by a weight for each class in any unit, {"cat": 0.7, "dog": 0.3}. The
        probabilities of every sample are then adjusted before they are averaged. A fitted temperature is left out, `temperature`
        is refused, `prediction_sets` is None, and `unfamiliar` may have more false alarms than were asked for.
        """

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of their labels."""

    @property
    def resolution(self) -> int:
        """Side of the network's input, in pixels."""

    @property
    def device(self) -> str:
        """Name of the device that it runs on."""

@final
class Progress:
    """How far training has come: what its callback gets."""

    @property
    def phase(self) -> Literal["caching", "training", "evaluating", "epoch"]:
        """Features of the frozen layers are computed, steps of an epoch are done, held-out images are scored, an epoch is
        done."""

    @property
    def done(self) -> int:
        """Images, steps or epochs done."""

    @property
    def total(self) -> int:
        """Of how many."""

    @property
    def epoch(self) -> int | None:
        """From 1; None while caching and evaluating."""

    @property
    def loss(self) -> float | None:
        """In nats, of the last step that is known, or the mean of the epoch."""

    @property
    def report(self) -> dict[str, Any] | None:
        """Of a whole epoch: `nll` (nats) and `accuracy` on the held-out images, None without them, `rank`, `kl`,
        `learning_rate`, `images_per_second` and others."""

@final
class Training:
    """What a training comes to."""

    @property
    def adapter(self) -> Adapter:
        """As it is after the last epoch; with `patience`, the best."""

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The report of each epoch of this call, as `Progress.report`."""

class _Options(TypedDict, total=False):
    """Options of training; `bayeslora train --help` says more of each."""

    method: Literal["bayeslora", "lora", "mc-dropout", "weight-noise"]
    resolution: int
    epochs: int
    patience: int | None
    batch_size: int | None
    lr: float
    lr_log_alpha: float | None
    lr_schedule: Literal["cosine", "constant"]
    weight_decay: float
    rank: int
    auto_rank: bool
    lora_alpha: float | None
    targets: list[str]
    dropout: float | None
    members: int | None
    kl_prior: str
    kl_scale: float
    kl_multiplicity: float | str | None
    kl_freeze: float | str
    beta_warmup: float | str
    sample_warmup: float | str
    prune_from: float | str
    prune_every: float | str
    prune_gauge: Literal["none", "svd", "evidence"] | None
    threshold: float
    min_rank: int
    gates: Literal["per-example", "shared"]
    validation: float
    split_seed: int | None
    augment: Literal["none", "flip", "standard"]
    class_weights: Literal["none", "balanced", "effective"]
    sampler: Literal["shuffled", "balanced"]
    prefix_cache: int
    resident_images: int
    seed: int
    precision: Literal["f32", "f16"]
    backbone_bits: Literal[8, 32]

def train(
    images: _Images,
    labels: Sequence[int] | npt.NDArray[np.integer[Any]],
    classes: Sequence[str],
    *,
    out: _Path | None = None,
    checkpoint: _Path | None = None,
    resume: bool = False,
    backbone: _Path | None = None,
    device: _Device | None = None,
    progress: Callable[[Progress], object] | None = None,
    **options: Unpack[_Options],
) -> Training:
    """Trains an adapter on labelled images.

    `labels` `[n]` count the `classes` from 0. `out` is the directory of the adapter, written anew after each epoch, so that a
    training that is stopped leaves that of its last whole epoch. `progress` is called in this thread; training waits for it,
    and an exception of its stops training and comes out, as `KeyboardInterrupt` does. `validation` is the share of the images
    (default 0.1) that is held out to score each epoch on. The other options are those of `bayeslora train`, with underscores:
    `epochs` (5), `rank` (8), `resolution` (64 pixels), `kl_multiplicity` (kappa) and so on.

    `checkpoint` is a file that is written anew after each epoch, after the adapter. With `resume` training goes on from it, with the
    images and options that it was begun with, and on the same device comes to the same bits as if it had not stopped; other ones
    are refused. Without, a file that is there is refused.
    """
