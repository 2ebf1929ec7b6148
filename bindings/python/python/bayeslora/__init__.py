"""Bayesian low-rank adapters on GPUs and CPUs through WebGPU.

`train` makes an `Adapter` from labelled images, `Predictor` answers with it: probabilities, and how far they can be trusted.
"""

from ._native import (
    Adapter,
    Device,
    GpuLost,
    Prediction,
    Predictor,
    Progress,
    Training,
    __version__,
    devices,
    train,
)

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
