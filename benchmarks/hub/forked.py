"""An experiment for the plan, not a part of the hub: kernels forked from one that has imported all.

``python -m benchmarks.hub.forked`` imports what a student's kernel imports, forks twice, lets both
children draw 100 maps, and prints as JSON what each of them has for itself alone. No kernel of
Jupyter's is started like that today, and all children of one process are one user's.
"""

import gc
import json
import os
import time
import warnings

from benchmarks.hub import memory
from benchmarks.hub.kernels import STEPS


def child(ready: int, go: int) -> None:
    """Draw, say so, wait for the measurement, and end without any clean-up of the parent's."""
    start = time.process_time()
    exec(STEPS["+ vizhelpers, model, 100 maps"], {})
    os.write(ready, f"{time.process_time() - start:9.4f}".encode())
    os.read(go, 1)
    os._exit(0)


def main() -> None:
    """Import, fork, measure."""
    warnings.simplefilter("ignore")
    import ipykernel.ipkernel
    import ipykernel.kernelapp
    import matplotlib.pyplot
    import torch
    import torchvision

    import vizhelpers as viz

    model = viz.load_model()
    viz.feature_maps(model, viz.prepare(model, "cat"), "features.3").plot(limit=4)
    matplotlib.pyplot.close("all")
    used = (ipykernel.kernelapp, ipykernel.ipkernel, torch, torchvision)
    assert all(used)
    gc.collect()
    gc.freeze()  # the collector must not write into pages that are shared
    ready, says = os.pipe()
    waits, go = os.pipe()
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            child(says, waits)
        pids.append(pid)
    seconds = [float(os.read(ready, 9)) for _ in pids]
    held = [memory.held(pid) for pid in pids]
    parent = memory.held(os.getpid())
    os.write(go, b"..")
    for pid in pids:
        os.waitpid(pid, 0)
    found = {
        "private": sum(one.private for one in held) / len(held),
        "parent": parent.pss + sum(one.shared for one in held),
        "cpu": sum(seconds) / len(seconds),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
