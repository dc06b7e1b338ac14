"""What needs processes of its own: imports, the first picture, notebooks, memory."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import torch
import torchvision
from safetensors.torch import load_file

import vizhelpers as viz
from benchmarks.measure import FLOOR, MB, OURS, Budget, Result, Spread, in_turn, seconds
from benchmarks.pictures import DOCUMENT
from tools import build_notebooks
from vizhelpers.inputs.weights.sources import DATA

BARE = "torch + torchvision"
NOTEBOOKS_GOAL = 60.0  # seconds

IMPORT = "import torch, torchvision"
PLOTTING = f"{IMPORT}, io, matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
OURS_FIRST = """
import io, matplotlib
matplotlib.use('agg')
import vizhelpers as viz
model = viz.load_model()
sample = viz.prepare(model, 'cat')
figure = viz.feature_maps(model, sample, 'features.3').plot(limit=100, columns=10)
figure.savefig(io.BytesIO(), format='png', bbox_inches='tight')
"""
# The document's, on the same weights and the same photograph.
DOCUMENTS_FIRST = f"""{PLOTTING}
from PIL import Image
from torchvision import transforms
model = torchvision.models.squeezenet1_1()
model.load_state_dict(torch.load('WEIGHTS'))
model.eval()
prepare = transforms.Compose([
    transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
x = prepare(Image.open('PHOTOGRAPH').convert('RGB'))[None]
class Hook:
    def __init__(self):
        self.features_out_hook = []
    def __call__(self, module, fea_in, fea_out):
        self.features_out_hook.append(fea_out)
hook = Hook()
model.features[3].register_forward_hook(hook)
_ = model(x)
figure = plt.figure(figsize=(20, 17))
for i, one in enumerate(hook.features_out_hook[0][0][:100].cpu().clone()):
    plt.subplot(10, 10, i + 1)
    plt.axis('off')
    plt.imshow(one.detach())
figure.savefig(io.BytesIO(), format='png', bbox_inches='tight')
plt.close(figure)
"""


def environment() -> dict[str, str]:
    """Return this process's variables, so that Python keeps what it compiles."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(code: str) -> None:
    """Run code in a new process."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment())


@contextmanager
def documents_code() -> Iterator[str]:
    """Write the weights as the document's code wants them, and yield that code."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "squeezenet.pth"
        torch.save(viz.load_model().state_dict(), weights)
        photograph = DATA / "photographs" / "cat.jpg"
        code = DOCUMENTS_FIRST.replace("WEIGHTS", str(weights))
        yield code.replace("PHOTOGRAPH", str(photograph))


def imports(budget: Budget) -> Result:
    """A new process that imports the package, and one that uses its names."""
    names = "import vizhelpers as viz; viz.load_model, viz.feature_maps, viz.cam, viz.saliency"
    sides = in_turn({OURS: lambda: run(names), BARE: lambda: run(IMPORT)}, budget)
    return Result(
        "import, with the names for a model, maps and saliency",
        sides | {FLOOR: sides[BARE]},
        goals={BARE: 1 / 1.05},
        floor="importing torch and torchvision",
        note="`import vizhelpers` alone imports neither of them and takes 0.04 s",
    )


def load(budget: Budget) -> Result:
    """The bundled model, against torchvision's constructor and a file of the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "squeezenet.pth"
        ours = viz.load_model()
        torch.save(ours.state_dict(), path)

        def theirs() -> torch.nn.Module:
            model = torchvision.models.squeezenet1_1()
            model.load_state_dict(torch.load(path))
            return model.eval()

        x = viz.prepare(ours, "cat").x
        assert torch.equal(ours(x), theirs()(x)), "another model"
        sides = in_turn(
            {
                OURS: viz.load_model,
                "torchvision": theirs,
                FLOOR: lambda: load_file(DATA / "squeezenet1_1.safetensors"),
            },
            budget,
        )
    return Result(
        "load_model",
        sides,
        floor="reading the file of weights",
        note="the rest builds 26 layers' modules; torchvision's also draws random weights first",
    )


def first_picture(budget: Budget) -> Result:
    """From a new process to a grid of 100 maps."""
    with documents_code() as code:
        sides = in_turn(
            {
                OURS: lambda: run(OURS_FIRST),
                DOCUMENT: lambda: run(code),
                FLOOR: lambda: run(IMPORT),
            },
            budget,
        )
    return Result(
        "new process to the first 100 maps", sides, floor="importing torch and torchvision"
    )


def notebooks(budget: Budget) -> Result:
    """All notebooks, executed as ``tools.build_notebooks`` does: as many at a time as cores."""
    names = build_notebooks.names()[:2] if budget.quick else build_notebooks.names()
    sources = {name: build_notebooks.read_source(name) for name in names}
    each: dict[str, float] = {}

    def one(name: str) -> None:
        each[name] = seconds(lambda: build_notebooks.execute(sources[name]))

    def empty(name: str) -> None:
        source = build_notebooks.read_source(name)
        source.cells = [cell for cell in source.cells if cell.cell_type == "code"][:1]
        source.cells[0].source = IMPORT
        build_notebooks.execute(source)

    ours = seconds(lambda: build_notebooks.on_all_cores(one, names))
    together = names[: os.cpu_count()]  # as many as run at a time; the others take as long
    floor = seconds(lambda: build_notebooks.on_all_cores(empty, together))
    floor *= len(names) / len(together)
    single = ", ".join(f"{name} {took:.0f}" for name, took in each.items())
    return Result(
        f"{len(names)} notebooks, executed",
        {OURS: Spread.of([ours]), FLOOR: Spread.of([floor])},
        floor=f"{len(names)} kernels that import torch and torchvision",
        limit=NOTEBOOKS_GOAL,
        note=f"{os.cpu_count()} at a time, a thread each; seconds of each beside another: {single}",
    )


# ---------------------------------------------------------------- memory


@contextmanager
def student(code: str) -> Iterator[psutil.Process]:
    """Yield a process that has run some code and keeps what it holds."""
    code = f"{textwrap.dedent(code)}\nimport sys\nprint('ready', flush=True)\nsys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, text=True, env=environment(), **pipes) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline().strip() == "ready"
        yield psutil.Process(process.pid)
        process.stdin.close()


def second_student(code: str) -> float:
    """Return the megabytes that one more process of a kind takes, shared pages counted once."""
    with ExitStack() as stack:
        students = [stack.enter_context(student(code))]
        alone = sum(one.memory_full_info().pss for one in students)
        students.append(stack.enter_context(student(code)))
        return (sum(one.memory_full_info().pss for one in students) - alone) / MB


def class_memory(budget: Budget) -> Result:
    """A second student who draws the same maps beside a first."""
    if not hasattr(psutil.Process().memory_full_info(), "pss"):
        raise NotImplementedError("Only Linux says which pages processes share.")
    with documents_code() as code:
        kinds: Mapping[str, str] = {OURS: OURS_FIRST, DOCUMENT: code, FLOOR: IMPORT}
        found = {name: [second_student(one)] for name, one in kinds.items()}
    return Result(
        "memory of one more student with 100 maps",
        {name: Spread.of(values) for name, values in found.items()},
        unit="MB",
        goals={DOCUMENT: 1.0},
        floor="importing torch and torchvision",
        note="proportional set size: shared pages are counted once",
    )


ROWS = {
    "import": imports,
    "load": load,
    "first-picture": first_picture,
    "student": class_memory,
    "notebooks": notebooks,
}
