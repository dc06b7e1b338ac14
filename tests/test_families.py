"""Every public function on every kind of network: torchvision's families, timm's, users' own."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import pytorch_grad_cam  # noqa: F401  (loaded on first use, it adds a warnings filter)
import torch
import torchvision
from families import ALIKE, SMALLEST, Findings, examine, family_of, loaded, noise, table
from networks import TINY, seeded, unit_variance
from snapshots import difference, snapshot
from torch import Tensor, nn

import vizhelpers as viz

ALL = torchvision.models.list_models(module=torchvision.models)
HERE = Path(__file__).parent

pytestmark = pytest.mark.filterwarnings("ignore:The model predicts class")

NO_RELU = {"convnext", "efficientnet", "efficientnet_v2", "maxvit", "swin", "swin_v2", "vit"}
# A mean over a layer's maps and one linear layer; between them others have a layer more.
POOLED_HEAD = {
    "efficientnet", "efficientnet_v2", "googlenet", "inception", "mnasnet", "mobilenet_v2",
    "regnet", "resnet", "resnext", "shufflenet", "squeezenet", "swin", "swin_v2", "wide_resnet",
}  # fmt: skip


def expected_refusals(family: str) -> dict[str, str]:
    """Return what a family cannot have: function -> a word of the reason."""
    found = {}
    if family in NO_RELU:
        found["guided"] = "uses none"
    if family not in POOLED_HEAD:
        found["cam"] = "one linear layer"
    if family == "inception":
        found["Backprop"] = "299"
    return found


def check(found: Findings, family: str) -> None:
    assert found.changed == []
    assert found.layers >= 3
    refused = {name: text for name, text in found.results.items() if text != "yes"}
    expected = {k: v for k, v in expected_refusals(family).items() if k in found.results}
    assert set(refused) == set(expected), refused
    for name, word in expected.items():
        assert word in refused[name]


@pytest.mark.parametrize("family", SMALLEST)
def test_every_function_works_on_the_smallest_of_the_family(family: str) -> None:
    name = SMALLEST[family]
    check(examine(name, *loaded(name), leave_out=ALIKE), family)


def test_these_are_all_families() -> None:
    assert {family_of(name) for name in ALL} == set(SMALLEST)
    assert len(SMALLEST) == 21
    assert set(SMALLEST.values()) <= set(ALL)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ALL)
def test_every_function_works_on(name: str) -> None:
    """In a process of its own; writes the model's row of the committed table."""
    run = subprocess.run(
        [sys.executable, str(HERE / "families.py"), name], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = Findings(**json.loads(run.stdout.splitlines()[-1]))
    check(found, family_of(name))
    committed = HERE / "families.md"
    previous = committed.read_text(encoding="utf-8") if committed.exists() else ""
    committed.write_text(table(found, previous), encoding="utf-8")


def test_the_committed_table_has_a_row_for_every_model() -> None:
    text = (HERE / "families.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == sorted(ALL)  # below the head and the rule


TIMM = {
    "resnet10t": 64,
    "mobilenetv3_small_050": 64,
    "convnext_atto": 64,
    "vit_tiny_patch16_224": 224,
}


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", TIMM)
def test_every_function_works_on_timms_models(name: str) -> None:
    import timm

    with seeded(0):
        model = timm.create_model(name, pretrained=False)
    x = noise(TIMM[name])
    found = examine(name, unit_variance(model, x), x, leave_out=ALIKE)
    assert found.changed == []
    refused = {function for function, text in found.results.items() if text != "yes"}
    assert refused <= {"cam", "guided"}, found.results


# What can be asked of one network; each returns numbers to compare.
ASKED: dict[str, Callable[[nn.Module, Tensor], np.ndarray]] = {
    "capture": lambda m, x: viz.capture(m, x, "2")["2"].float().numpy(),
    "feature_maps": lambda m, x: viz.feature_maps(m, x, "2").frames,
    "kernels": lambda m, x: viz.kernels(m, "2").frames,
    "gradcam": lambda m, x: viz.cam(m, x, "2", target=1).frames,
    "sweep": lambda m, x: viz.cam_sweep(m, x, layers=["0", "2"], targets=[0, 1, None]).frames,
    "scorecam": lambda m, x: viz.cam(m, x, "2", target=1, method="scorecam").frames,
    "ablationcam": lambda m, x: viz.cam(m, x, "2", target=1, method="ablationcam").frames,
    "saliency": lambda m, x: viz.saliency(m, x, target=1).frames,
    "guided": lambda m, x: viz.saliency(m, x, target=1, method="guided").frames,
    "maximization": lambda m, x: (
        viz.activation_maximization(m, "2", channels=[1], steps=3, size=16).frames
    ),
    "predict": lambda m, x: np.array([p.probability for p in viz.predict(m, x)]),
    "tree": lambda m, x: np.array(
        [row.parameters for row in viz.module_tree(m, input_size=tuple(x.shape)).rows]
    ),
    "summary": lambda m, x: np.array([viz.summary(m, tuple(x.shape)).mult_adds]),
    "layer_names": lambda m, x: np.array(viz.layer_names(m)),
}


def answers(model: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """Ask everything, and see that nothing is left behind."""
    before = snapshot(model, x)
    found = {name: ask(model, x) for name, ask in ASKED.items()}
    assert difference(before, snapshot(model, x)) == []
    return found


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name, value in one.items():
        assert np.asarray(value != 0).any() or value.dtype.kind == "U", name
        np.testing.assert_array_equal(other[name], value, err_msg=name)


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "DataParallel": nn.DataParallel,
    "both": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_a_wrapped_model_gives_what_the_model_inside_gives(
    wrap: str, tiny: nn.Module, noise: Tensor
) -> None:
    expected = answers(tiny, noise)
    same(expected, answers(WRAPPED[wrap](tiny), noise))


def test_a_model_compiled_in_place_gives_what_it_gave_before(
    tiny: nn.Module, noise: Tensor
) -> None:
    expected = answers(tiny, noise)
    tiny.compile(backend="eager")
    tiny(noise)
    same(expected, answers(tiny, noise))


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_torchscript_is_refused(tiny: nn.Module, noise: Tensor) -> None:
    traced = torch.jit.trace(tiny, noise)
    with pytest.raises(TypeError, match="TorchScript"):
        viz.capture(traced, noise, "2")


def test_frozen_parameters_change_nothing(tiny: nn.Module, noise: Tensor) -> None:
    expected = answers(tiny, noise)
    same(expected, answers(tiny.requires_grad_(False), noise))


def test_train_mode_changes_nothing(tiny: nn.Module, noise: Tensor) -> None:
    expected = answers(tiny, noise)
    same(expected, answers(tiny.train(), noise))


def test_half_precision_gives_nearly_the_same(tiny: nn.Module, noise: Tensor) -> None:
    exact = answers(tiny, noise)
    half = answers(copy.deepcopy(tiny).bfloat16(), noise.bfloat16())
    for name in ("capture", "feature_maps", "gradcam", "scorecam", "ablationcam", "saliency"):
        assert half[name].dtype == np.float32
        assert np.corrcoef(half[name].ravel(), exact[name].ravel())[0, 1] > 0.99, name
    with pytest.raises(ValueError, match="bfloat16"):
        viz.capture(copy.deepcopy(tiny).bfloat16(), noise, "2")


def test_a_batch_gives_what_its_images_give_one_by_one(tiny: nn.Module) -> None:
    x = torch.randn(3, 3, 14, 9, generator=torch.Generator().manual_seed(5))
    calls = {
        "feature_maps": lambda x: viz.feature_maps(tiny, x, "2"),
        "gradcam": lambda x: viz.cam(tiny, x, "2"),
        "eigengradcam": lambda x: viz.cam(tiny, x, "2", target=1, method="eigengradcam"),
        "ablationcam": lambda x: viz.cam(tiny, x, "2", target=1, method="ablationcam"),
        "saliency": lambda x: viz.saliency(tiny, x),
        "integrated": lambda x: viz.saliency(tiny, x, method="integrated_gradients", passes=3),
    }
    for name, call in calls.items():
        together, alone = call(x), [call(x[i : i + 1]) for i in range(3)]
        assert list(together.axes["image"]) == [0, 1, 2]
        assert "image" not in alone[0].axes
        frames = np.concatenate([one.frames for one in alone])
        assert frames.any()
        assert not np.allclose(alone[0].frames, alone[1].frames, atol=1e-3)
        np.testing.assert_allclose(together.frames, frames, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("size", [(12, 20), (31, 12)])
def test_pictures_need_not_be_square(tiny: nn.Module, size: tuple[int, int]) -> None:
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(5))
    maps = (size[0] - 4, size[1] - 4)
    assert viz.feature_maps(tiny, x, "2").frames.shape == (6, *maps)
    assert viz.cam(tiny, x, "2").frames.shape == (1, *maps)
    found = viz.saliency(tiny, x).frames[0]
    assert found.shape == size
    assert found.any()


def test_grey_scale_input() -> None:
    network = TINY["grey"]
    model, x = network.built(), network.x()
    assert viz.feature_maps(model, x, "0").frames.any()
    assert viz.cam_sweep(model, x, layers=["0"], targets=range(5)).frames.any()
    assert viz.saliency(model, x).frames.shape == (1, 10, 10)
    picture = viz.activation_maximization(model, "0", channels=[0], steps=1, size=10).frames[0]
    assert (picture == picture[..., :1]).all(), "grey"


DEVICES = {
    "cuda": torch.cuda.is_available(),
    "mps": torch.backends.mps.is_available(),
}


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(
            name,
            marks=[getattr(pytest.mark, name), pytest.mark.skipif(not there, reason=f"no {name}")],
        )
        for name, there in DEVICES.items()
    ],
)
def test_an_accelerator_gives_what_the_cpu_gives(
    device: str, tiny: nn.Module, noise: Tensor
) -> None:
    expected = answers(tiny, noise)
    there = copy.deepcopy(tiny).to(device)
    for name in ("feature_maps", "kernels", "gradcam", "sweep", "saliency", "guided", "predict"):
        found = ASKED[name](there, noise.to(device))
        np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
    with pytest.raises(ValueError, match="Nothing is moved"):
        viz.capture(there, noise, "2")
