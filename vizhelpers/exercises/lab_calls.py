"""``calls``: tell whether a student's function calls what the task forbids."""

from collections.abc import Callable
from typing import Any

from vizhelpers.exercises.forbidden import Calls, watched


def calls(function: Callable[..., Any], operations: str, *args: Any) -> bool:
    """Call ``function(*args)``; return whether it calls one of some operations, True or False.

    Args:
        function: what is watched. Of a graded lab's function, its own ``calls`` answers.
        operations: a regular expression for whole names of operations, such as ``".*conv.*"`` or
            ``"run_backward"``; see ``forbidden.Calls``.
        args: arguments of ``function``.

    Raises:
        Exception: whatever the function raises.
    """
    in_its_process = getattr(function, "calls", None)
    if in_its_process is not None:  # a graded lab's function runs elsewhere
        return in_its_process(operations, *args) is True
    called: set[str] = set()
    with watched({"forbidden": Calls(operations)}, called):
        function(*args)
    return bool(called)
