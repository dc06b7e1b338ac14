"""Look inside a convolutional network: ``import vizhelpers as viz``.

The public names stand in ``__init__.pyi`` beside this file. Each is imported when it is first
used, so that ``import vizhelpers`` itself costs nothing; grad-cam alone takes seconds.
"""

import importlib
import warnings
from typing import Any

import lazy_loader

__version__ = "0.1.0"

# Old public name -> new one. The old names work for one release.
RENAMED = {
    "explore_filters": "explore_activation_maximization",
    "explore_structure": "explore_module_tree",
    "labs.check": "check",
    "labs.damage": "exercises.damage",
    "labs.hint": "hint",
    "labs.plain": "exercises.plain",
    "labs.progress": "progress",
    "labs.solution": "solution",
}

_public_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Return a public name; an old one with a warning."""
    if name == "labs":  # a module that holds old names only
        return importlib.import_module("vizhelpers.labs")
    return renamed(name) if name in RENAMED else _public_name(name)


def renamed(old: str) -> Any:
    """Return what an old public name stands for, and warn the caller's caller.

    Raises:
        AttributeError: ``old`` was never a public name.
    """
    if old not in RENAMED:
        raise AttributeError(f"module 'vizhelpers' has no attribute {old!r}")
    new = RENAMED[old]
    # Python hides a DeprecationWarning if the caller is a module; readers must see this one.
    text = f"vizhelpers.{old} is now vizhelpers.{new}."
    end = " The old name will be removed in the next release."
    warnings.warn(text + end, FutureWarning, stacklevel=3)
    *parents, last = new.split(".")
    return getattr(importlib.import_module(".".join([__name__, *parents])), last)
