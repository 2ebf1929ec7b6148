"""What an application writes, for the type checker."""

from pathlib import Path

import numpy as np

import bayeslora


def use(images: "np.typing.NDArray[np.uint8]") -> float:
    def hear(progress: bayeslora.Progress) -> None:
        if progress.phase == "epoch" and progress.report is not None:
            print(progress.epoch, progress.loss, progress.report["nll"])

    trained = bayeslora.train(images, [0, 1], ["a", "b"], out="here", progress=hear, epochs=3, kl_multiplicity=0.01)
    ranks: "dict[str, int]" = trained.adapter.ranks
    predictor = bayeslora.Predictor(trained.adapter, device="cpu")
    answer = predictor.predict(["one.png", Path("two.png"), images[0]], 8, class_prior={"a": 3, "b": 1.5}, threshold=0.5)
    return float(answer.probabilities[0, 0]) + sum(ranks.values())
