"""A course's kernel: ipykernel's own, with a limit of memory and without a needless import.

``kernel.json`` beside it gives it one thread: 20 kernels with a thread for each core get in each
other's way.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

EARLY, LATER, WANTED = "torchvision.ops.roi_align", "torch._dynamo.utils", "is_compile_supported"


def limit_memory(limit: str | None) -> None:
    """Let a kernel have no more data than its student: then it raises, and nobody else suffers.

    Args:
        limit: bytes, as JupyterHub says them in MEM_LIMIT; None for no limit.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    if limit and limit.isdigit():
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))


def _when_called(*arguments: object) -> object:
    return getattr(importlib.import_module(LATER), WANTED)(*arguments)


class _Deferring(Loader):
    """Runs torchvision's ``roi_align`` with a ``torch._dynamo`` that is imported when it is used.

    torchvision imports torch's compiler for one function that it calls only on a GPU; that takes
    half of the time of the import and 90 MB in each kernel. Whoever imports the compiler himself
    gets it as ever.
    """

    def __init__(self, real: Loader) -> None:
        """Keep the usual loader."""
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let the usual loader do it."""
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, with a stand-in where the compiler is not there yet."""
        if LATER in sys.modules:
            self.real.exec_module(module)
            return
        stand_in = ModuleType(LATER)
        setattr(stand_in, WANTED, _when_called)
        sys.modules[LATER] = stand_in
        try:
            self.real.exec_module(module)
        except ImportError:  # another torchvision, which wants more of it
            del sys.modules[LATER]
            self.real.exec_module(module)
        finally:
            if sys.modules.get(LATER) is stand_in:
                del sys.modules[LATER]


class DeferCompiler(MetaPathFinder):
    """Finds ``torchvision.ops.roi_align``, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual spec with the loader above."""
        if fullname != EARLY:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Deferring(spec.loader)
        return spec


def main() -> None:
    """Set the limit, defer the import, and be ipykernel."""
    limit_memory(os.environ.get("MEM_LIMIT"))
    sys.meta_path.insert(0, DeferCompiler())
    # As ``ipykernel_launcher`` does: the student's folder is found by the kernel itself.
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    main()
