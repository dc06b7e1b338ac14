"""Hold what layers put out in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


class Reached(BaseException):
    """Raised by a hook to end a forward pass; not an ``Exception``, so few models swallow it."""


@dataclass
class Recording:
    """Outputs of layers in one forward pass.

    Attributes:
        outputs: each layer's output, by its dotted path.
        stopped: whether a hook has raised ``Reached``.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    stopped: bool = False

    def pick(self, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return ``{name: output}`` in the order of ``layers``.

        Raises:
            ValueError: one of them did not run.
        """
        silent = [name for name in layers if name not in self.outputs]
        if silent:
            raise ValueError(
                f"Layer {silent[0]!r} did not run in this forward pass, so it has no output. "
                "It may run in training only, or forward may use its parts or weights without "
                "calling the layer itself, as gradient checkpointing does. Choose another layer."
            )
        return {name: self.outputs[name] for name in layers}
