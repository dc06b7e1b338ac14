"""Labels of axes as texts."""

from typing import Any

import numpy as np


def named(axis: str, label: Any) -> str:
    """Return "channel 131" for the label 131, but "features.3" for a label that is a text."""
    return f"{axis} {label}" if isinstance(label, (int, np.integer)) else str(label)
