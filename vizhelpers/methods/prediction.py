"""Predict the most probable classes of a photograph."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from vizhelpers.inputs.arguments import integer
from vizhelpers.inputs.subject import HasTensor, validated
from vizhelpers.passes.outputs import logits_and_ending, probabilities


@dataclass(frozen=True)
class Prediction:
    """One class that a model predicts, with its probability.

    Attributes:
        index: of the class.
        label: its name, or the index as text.
        probability: between 0 and 1.
        assumed: how the probability was obtained if not as the softmax of logits; else "".
    """

    index: int
    label: str
    probability: float
    assumed: str = ""

    def __repr__(self) -> str:
        """Return the name, the index and the probability, such as "tabby (281) 0.612"."""
        note = f" ({self.assumed})" if self.assumed else ""
        return f"{self.label} ({self.index}) {self.probability:.3f}{note}"


def predict(
    model: nn.Module, sample: HasTensor | Tensor, k: int = 5, *, labels: Sequence[str] | None = None
) -> list[Prediction]:
    """Return the ``k`` most probable classes of one photograph, most probable first.

    Outputs that come from a sigmoid or a softmax, or that sum to 1, are used as probabilities.
    Otherwise a single logit gets the sigmoid, several get the softmax. ``Prediction.assumed``
    names the case unless it is the softmax.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (1, C, H, W).
        k: how many classes; all of them if the model has fewer.
        labels: class names, for a module of the user's own; without names the index is shown.

    Raises:
        ValueError: more than one photograph, ``k`` below 1, an output that contains NaN, or an
            input that ``capture`` refuses.

    Example:
        >>> import vizhelpers as viz
        >>> model = viz.load_model()
        >>> predict(model, viz.prepare(model, "panda"), k=1)
        [giant panda (388) 1.000]
    """
    k = integer("k", k, 1)
    subject = validated(model, sample, labels=labels, axes=None)
    if len(subject.x) != 1:
        raise ValueError(
            f"predict takes one photograph, got {len(subject.x)}; loop over x[i:i + 1]."
        )
    scores, ending = logits_and_ending(subject.model, subject.x)
    shares, assumed = probabilities(scores, ending)
    top = shares[0].topk(min(k, shares.shape[1]))
    return [
        Prediction(index, subject.classes.of(index, scores.shape[1]), probability, assumed)
        for index, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
