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
        copies: the copies with which the network continued, so that a later in-place operation,
            such as ``ReLU(inplace=True)``, does not overwrite the recorded tensor.
        versions: the version of each output that was not copied.
        stopped: whether a hook has raised ``Reached``.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    copies: dict[str, Tensor] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    stopped: bool = False

    def add(self, name: str, output: Tensor, *, copy: bool) -> Tensor | None:
        """Record an output; return its copy, with which the network continues, or None."""
        self.outputs[name] = output
        if not copy and not output.is_inference():  # inference tensors have no version
            self.versions[name] = output._version
            return None
        self.copies[name] = output.clone()
        return self.copies[name]

    def overwritten(self) -> bool:
        """Return whether an output that was not copied was changed in place."""
        return any(self.outputs[name]._version != v for name, v in self.versions.items())

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
