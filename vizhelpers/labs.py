"""The old names `viz.labs.check` and so on: they warn, and will be removed in the next release."""

from typing import Any

import vizhelpers


def __getattr__(name: str) -> Any:
    return vizhelpers.renamed(f"labs.{name}")
