"""Restore the attributes of a model's modules after a pass that ends before ``forward`` does."""

from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

from torch import nn


@contextmanager
def attributes_restored(model: nn.Module) -> Iterator[None]:
    """Restore the attributes of all modules after a ``with`` block, and the containers in them.

    Attributes are those from before the block, and lists, sets and dicts have the same entries.
    """
    before: list[tuple[Any, Any]] = []
    for module in model.modules():
        _note_entries(vars(module), before)
    try:
        yield
    finally:
        for container, entries in before:
            if not _same_entries(container, entries):
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(entries)


def _note_entries(container: Any, before: list[tuple[Any, Any]]) -> None:
    """Append a list, set or dict with a shallow copy of it, and those that it contains."""
    before.append((container, container.copy()))
    if container and not isinstance(container, set):
        for entry in container.values() if isinstance(container, dict) else container:
            if isinstance(entry, (dict, list, set)):
                _note_entries(entry, before)


def _same_entries(container: Any, entries: Any) -> bool:
    """Return whether a list, set or dict holds the very same objects as its copy."""
    if isinstance(container, set):
        return bool(container == entries)
    if isinstance(container, list):
        return len(container) == len(entries) and all(map(is_, container, entries))
    return container.keys() == entries.keys() and all(
        map(is_, container.values(), entries.values())
    )
