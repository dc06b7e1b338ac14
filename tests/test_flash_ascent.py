"""``flash.GradientAscent``, beside FlashTorch's own climb."""

import copy
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flashtorch.activmax.gradient_ascent import GradientAscent as TheirAscent
from matplotlib.figure import Figure
from networks import Counter, network_of
from PIL import Image
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.flash import GradientAscent

pytestmark = [
    # FlashTorch's hooks are of a kind that PyTorch no longer recommends, and it says so each time.
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
    pytest.mark.usefixtures("no_figures_left"),
]


@pytest.fixture
def start() -> Tensor:
    return torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("layer", "filter_idx"),
    [("0", 47), ("4.expand3x3", 3), ("9.expand3x3", 1), ("12.expand3x3", 2)],
)
def test_climb_is_flashtorchs_own_trajectory(
    model: nn.Module, start: Tensor, layer: str, filter_idx: int
) -> None:
    """From the same start: the activation before each of ten steps, and the first pictures."""
    theirs, curve = _their_climb(model.features, layer, filter_idx, start, 10)
    ascent = GradientAscent(model.features)
    ours = ascent.optimize(model.features.get_submodule(layer), filter_idx, start, num_iter=10)
    assert len(ours) == len(theirs) == len(curve) == 10
    assert abs(curve[-1] - curve[0]) > 0.1 * abs(curve[-1])
    assert ours[0].shape == theirs[0].shape == start.shape
    assert not torch.allclose(theirs[2], start, atol=0.1)
    # Rounding grows from step to step, most through many ReLUs.
    np.testing.assert_allclose(ascent.activations, curve, rtol=1e-2)
    np.testing.assert_allclose(ascent.activations[:4], curve[:4], rtol=1e-4)
    difference = (ours[2] - theirs[2]).norm() / (theirs[2] - start).norm()
    assert difference < 1e-2
    ascent.optimize(model.features.get_submodule(layer), filter_idx + 1, start, num_iter=10)
    assert not np.allclose(ascent.activations, curve, rtol=0.05)


def _their_climb(
    features: nn.Module, layer: str, filter_idx: int, start: Tensor, steps: int
) -> tuple[list[Tensor], list[float]]:
    """FlashTorch's pictures, and the activation that its hook saw before each step."""
    ascent = TheirAscent(copy.deepcopy(features).eval())
    curve: list[float] = []
    target = ascent.model.get_submodule(layer)
    target.register_forward_hook(
        lambda module, args, output: curve.append(output[:, filter_idx].mean().item())
    )
    pictures = ascent.optimize(target, filter_idx, start.clone().requires_grad_(), num_iter=steps)
    return [picture.detach() for picture in pictures], curve


def test_several_filters_climb_in_one_batch_as_each_would_alone(
    model: nn.Module, start: Tensor
) -> None:
    layer, filters = model.features[6].expand3x3, [1, 5, 8]
    ascent = GradientAscent(model.features, img_size=64)
    together = ascent.visualize(layer, filters, num_iter=4, return_output=True)
    curves = ascent.activations
    for index, pictures, curve in zip(filters, together, curves, strict=True):
        alone = ascent.visualize(layer, index, num_iter=4, return_output=True)
        np.testing.assert_allclose(ascent.activations, curve, rtol=1e-4)
        assert [p.shape for p in pictures] == [p.shape for p in alone] == [(1, 3, 64, 64)] * 4
        moved = (alone[0] - alone[-1]).norm()
        assert (pictures[-1] - alone[-1]).norm() < 1e-2 * moved
    assert (together[0][-1] - together[1][-1]).norm() > 0.5 * moved


def test_the_network_runs_once_a_step_and_only_to_the_layer(tiny: nn.Sequential) -> None:
    before, behind, theirs = Counter(), Counter(), Counter()
    layers = list(tiny)
    ascent = GradientAscent(nn.Sequential(before, *layers[:3], behind, *layers[3:]), img_size=16)
    ascent.visualize(tiny[2], [0, 1, 2, 3], num_iter=5)
    assert (before.forwards, before.backwards, behind.forwards) == (5, 5, 0)
    network = nn.Sequential(*copy.deepcopy(layers[:3]), theirs, *copy.deepcopy(layers[3:]))
    TheirAscent(network, img_size=16).optimize(network[2], 0, num_iter=5)
    assert theirs.forwards == 5


def test_no_graph_is_kept(tiny: nn.Sequential) -> None:
    """FlashTorch's last picture still holds every picture before it, as a graph."""
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    theirs.model[1].inplace = False
    assert theirs.optimize(theirs.model[2], 0, num_iter=3)[-1].grad_fn is not None
    for picture in GradientAscent(tiny, img_size=16).optimize(tiny[2], 0, num_iter=3):
        assert picture.grad_fn is None
        assert not picture.requires_grad


def test_a_step_keeps_its_pictures_and_nothing_else(tiny: nn.Sequential) -> None:
    """The most bytes of pictures that are alive at one time, seen from inside the network."""

    def most_alive(steps: int) -> int:
        sizes = []

        class Look(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                alive = (o for o in gc.get_objects() if type(o) is Tensor and o.shape == x.shape)
                sizes.append(sum(o.nbytes for o in alive))
                return x.clone()

        ascent = GradientAscent(nn.Sequential(Look(), tiny), img_size=24)
        ascent.visualize(tiny[2], [0, 1], num_iter=steps)
        return max(sizes[2:])

    one_batch = 2 * 3 * 24 * 24 * 4
    assert most_alive(7) - most_alive(3) == 4 * one_batch


def _ascents(tiny: nn.Sequential) -> tuple[TheirAscent, GradientAscent]:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    theirs.model[1].inplace = False
    return theirs, GradientAscent(tiny, img_size=16)


def test_optimize_leaves_the_attributes_that_flashtorchs_leaves(tiny: nn.Sequential) -> None:
    theirs, ours = _ascents(tiny)
    for ascent in (theirs, ours):
        assert (ascent.output, ascent.activation, ascent.gradients) == (None, None, None)
        assert ascent.handlers == []
    start = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    theirs.optimize(theirs.model[2], 1, start.clone().requires_grad_(), num_iter=3)
    pictures = ours.optimize(tiny[2], 1, start, num_iter=3)
    assert theirs.output is ours.output is None  # only visualize stores it
    assert ours.activation is not None
    assert ours.gradients is not None
    torch.testing.assert_close(ours.activation, theirs.activation.detach())
    torch.testing.assert_close(ours.gradients, theirs.gradients)
    assert torch.equal(pictures[1] + ours.gradients, pictures[2])
    assert not ours.activation.requires_grad
    assert not ours.gradients.requires_grad
    assert ours.handlers == []


@pytest.mark.parametrize(("filters", "nested"), [(2, False), ([0, 2], True), (None, True)])
def test_visualize_stores_every_picture_with_or_without_return_output(
    tiny: nn.Sequential, filters: Any, nested: bool
) -> None:
    theirs, ours = _ascents(tiny)
    theirs.visualize(theirs.model[2], filters, num_iter=2, num_subplots=3)
    ours.visualize(tiny[2], filters, num_iter=2, num_subplots=3)
    assert ours.output is not None
    assert len(ours.output) == len(theirs.output)
    kept, their_kept = (
        (ours.output[-1], theirs.output[-1]) if nested else (ours.output, theirs.output)
    )
    assert [p.shape for p in kept] == [p.shape for p in their_kept] == [(1, 3, 16, 16)] * 2
    assert all(p.grad_fn is None for p in kept)
    assert ours.gradients is not None
    assert torch.equal(kept[0] + ours.gradients, kept[1])  # both are the last filter's
    activations = ours.activations[-1] if nested else ours.activations
    assert float(ours.activation or 0) == activations[-1]
    stored = ours.output
    assert ours.visualize(tiny[2], filters, num_iter=2, return_output=True) is ours.output
    assert ours.output is not stored


def test_flashtorchs_lr_is_overridden_by_visualize(tiny: nn.Sequential) -> None:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16, lr=0.25)
    theirs.visualize(theirs.model[0], 0, num_iter=1)
    assert theirs.lr == 1.0


def test_flashtorch_accepts_a_filter_too_many(tiny: nn.Sequential) -> None:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    with pytest.raises(IndexError):  # from deep inside, not from its own check
        theirs.optimize(theirs.model[0], 4, num_iter=1)
    with pytest.raises(ValueError, match=r"filter 4.*0 to 3"):
        GradientAscent(tiny, img_size=16).optimize(tiny[0], 4)


def test_the_climb_is_in_eval_mode_and_begins_with_the_seeds_noise(tiny: nn.Sequential) -> None:
    network = nn.Sequential(nn.Dropout(0.5), tiny).train()
    np.random.seed(0)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first, again, other = (
        GradientAscent(network, img_size=16, seed=seed).optimize(tiny[2], 1, num_iter=2)[-1]
        for seed in (0, 0, 1)
    )
    assert network.training
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (np.random.get_state()[1] == state).all()
    theirs = TheirAscent(copy.deepcopy(network), img_size=16)
    theirs.model[1][1].inplace = False
    start = torch.zeros(1, 3, 16, 16)
    pictures = [
        theirs.optimize(theirs.model[1][2], 1, start.clone().requires_grad_(), num_iter=2)[-1]
        for _ in range(2)
    ]
    assert not torch.equal(*pictures)  # dropout draws anew


def test_climb_rises_and_repeats_itself(model: nn.Module) -> None:
    ascent = GradientAscent(model.features, img_size=32)
    first = ascent.optimize(model.features[0], 47, num_iter=5)
    assert np.all(np.diff(ascent.activations) > 0)
    assert torch.equal(ascent.optimize(model.features[0], 47, num_iter=5)[-1], first[-1])


def test_constructors_lr_is_kept_and_a_calls_own_lasts_one_call(model: nn.Module) -> None:
    ascent = GradientAscent(model.features, img_size=16, lr=0.25)
    layer = model.features[0]
    own = ascent.visualize(layer, 3, num_iter=1, return_output=True)
    other = ascent.visualize(layer, 3, lr=2.0, num_iter=1, return_output=True)
    assert ascent.lr == 0.25
    again = ascent.visualize(layer, 3, num_iter=1, return_output=True)
    assert torch.equal(own[0], again[0])
    assert not torch.allclose(own[0], other[0])


def test_visualize_one_several_or_random_filters(model: nn.Module) -> None:
    ascent = GradientAscent(model.features, img_size=16)
    layer = model.features[0]
    assert isinstance(ascent.visualize(layer, 3, num_iter=1), Figure)
    assert isinstance(ascent.visualize(layer, np.int64(3), num_iter=1), Figure)
    several = ascent.visualize(layer, [3, 4, 5], num_iter=2, return_output=True)
    assert [len(climb) for climb in several] == [2, 2, 2]
    random = ascent.visualize(layer, num_iter=1, num_subplots=2, return_output=True)
    assert len(random) == 2


def test_deepdream_climbs_from_a_photograph(model: nn.Module, tmp_path: Path) -> None:
    path = str(tmp_path / "cat.png")
    viz.load_image("cat").save(path)
    ascent = GradientAscent(model.features, img_size=64)
    climb = ascent.deepdream(path, model.features[4].expand3x3, 1, num_iter=2, return_output=True)
    assert climb[-1].shape == (1, 3, 64, 64)
    assert np.all(np.diff(ascent.activations) > 0)
    figure = ascent.deepdream(path, model.features[4].expand3x3, 1, num_iter=1)
    assert isinstance(figure, Figure)


def test_a_convolution_may_be_the_model_itself(tiny: nn.Sequential) -> None:
    convolution = tiny[0]
    expected = GradientAscent(tiny, img_size=16).optimize(convolution, 1, num_iter=2)[-1]
    picture = GradientAscent(convolution, img_size=16).optimize(convolution, 1, num_iter=2)[-1]
    assert torch.equal(picture, expected)


def test_a_grey_networks_dream_begins_with_the_grey_photograph() -> None:
    network = network_of(1)
    (picture,) = GradientAscent(network, img_size=32).deepdream(
        "cat", network[0], 0, lr=0.0, num_iter=1, return_output=True
    )
    pixels = viz.flash.utils.denormalize(picture)[0, 0]
    colours = viz.flash.utils.denormalize(viz.flash.utils.apply_transforms("cat", 32)).detach()
    photograph = viz.flash.utils.format_for_plotting(colours).mul(255).round().byte().numpy()
    grey = np.asarray(Image.fromarray(photograph).convert("L")) / 255
    np.testing.assert_allclose(pixels, grey, atol=0.01)
    assert grey.std() > 0.05


class Repeated(nn.Module):
    """Takes three channels, although its first convolution in the order of definition takes 12."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(12, 4, 3)
        self.early = nn.Conv2d(3, 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x))


def test_the_order_of_definition_does_not_matter() -> None:
    network = Repeated()
    assert GradientAscent(network, 16).optimize(network.late, 0, num_iter=1)[0].shape[1] == 3


def test_a_photograph_climbs_in_the_models_own_precision(tiny: nn.Sequential) -> None:
    half = copy.deepcopy(tiny).bfloat16()
    ascent = GradientAscent(half, img_size=16)
    pictures = ascent.deepdream("cat", half[2], 1, num_iter=2, return_output=True)
    assert pictures[-1].dtype == torch.bfloat16
