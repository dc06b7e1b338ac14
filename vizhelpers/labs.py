"""The old names `viz.labs.check` and so on: they warn, and end with the next release."""

from typing import Any

import vizhelpers


def __getattr__(name: str) -> Any:
    return vizhelpers.renamed(f"labs.{name}")
