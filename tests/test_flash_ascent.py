"""``flash.GradientAscent``, beside FlashTorch's own climb."""

import copy
import gc
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


def ascents(tiny: nn.Sequential) -> tuple[TheirAscent, GradientAscent]:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    theirs.model[1].inplace = False
    return theirs, GradientAscent(tiny, img_size=16)


@pytest.mark.parametrize(
    ("layer", "filter_idx"),
    [("0", 47), ("4.expand3x3", 3), ("9.expand3x3", 1), ("12.expand3x3", 2)],
)
def test_climb_is_flashtorchs_own_trajectory(
    model: nn.Module, start: Tensor, layer: str, filter_idx: int
) -> None:
    """From the same start: the activation before each of ten steps, and the first pictures."""
    theirs, curve = their_climb(model.features, layer, filter_idx, start, 10)
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


def their_climb(
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


def test_the_network_runs_once_a_step_and_after_the_first_only_to_the_layer(
    tiny: nn.Sequential,
) -> None:
    before, behind, theirs = Counter(), Counter(), Counter()
    layers = list(tiny)
    ascent = GradientAscent(nn.Sequential(before, *layers[:3], behind, *layers[3:]), img_size=16)
    ascent.visualize(tiny[2], [0, 1, 2, 3], num_iter=5)
    assert (before.forwards, before.backwards) == (5, 5)
    assert behind.forwards <= 1
    network = nn.Sequential(*copy.deepcopy(layers[:3]), theirs, *copy.deepcopy(layers[3:]))
    TheirAscent(network, img_size=16).optimize(network[2], 0, num_iter=5)
    assert theirs.forwards == 5


def test_a_step_keeps_its_pictures_and_no_graph(tiny: nn.Sequential) -> None:
    """FlashTorch's last picture still holds every picture before it, as a graph."""
    theirs, ours = ascents(tiny)
    assert theirs.optimize(theirs.model[2], 0, num_iter=3)[-1].grad_fn is not None
    for picture in ours.optimize(tiny[2], 0, num_iter=3):
        assert picture.grad_fn is None
        assert not picture.requires_grad

    class Look(nn.Module):
        """Count, when called for the last time, the bytes of all pictures that exist."""

        def __init__(self, calls: int) -> None:
            super().__init__()
            self.calls, self.bytes = calls, 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls -= 1
            if self.calls == 0:
                alive = (o for o in gc.get_objects() if type(o) is Tensor and o.shape == x.shape)
                self.bytes = sum(o.nbytes for o in alive)
            return x.clone()

    few, many = Look(3), Look(7)
    for look, steps in ((few, 3), (many, 7)):
        ascent = GradientAscent(nn.Sequential(look, tiny), img_size=24)
        ascent.visualize(tiny[2], [0, 1], num_iter=steps)
    assert many.bytes - few.bytes == 4 * 2 * 3 * 24 * 24 * 4, "four batches of two pictures"


def test_optimize_leaves_the_attributes_that_flashtorchs_leaves(tiny: nn.Sequential) -> None:
    theirs, ours = ascents(tiny)
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


@pytest.mark.parametrize(
    ("filters", "nested"), [(2, False), (np.int64(2), False), ([0, 2], True), (None, True)]
)
def test_visualize_stores_every_picture_with_or_without_return_output(
    tiny: nn.Sequential, filters: Any, nested: bool
) -> None:
    theirs, ours = ascents(tiny)
    their_filters = filters if nested else int(filters)
    theirs.visualize(theirs.model[2], their_filters, num_iter=2, num_subplots=3)
    assert isinstance(ours.visualize(tiny[2], filters, num_iter=2, num_subplots=3), Figure)
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


def test_constructors_lr_is_kept_and_a_calls_own_lasts_one_call(tiny: nn.Sequential) -> None:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16, lr=0.25)
    theirs.visualize(theirs.model[0], 0, num_iter=1)
    assert theirs.lr == 1.0
    ascent, layer = GradientAscent(tiny, img_size=16, lr=0.25), tiny[0]
    own = ascent.visualize(layer, 3, num_iter=1, return_output=True)
    other = ascent.visualize(layer, 3, lr=2.0, num_iter=1, return_output=True)
    assert ascent.lr == 0.25
    again = ascent.visualize(layer, 3, num_iter=1, return_output=True)
    assert torch.equal(own[0], again[0])
    assert not torch.allclose(own[0], other[0])


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


def test_a_photograph_climbs_in_the_models_own_precision(tiny: nn.Sequential) -> None:
    half = copy.deepcopy(tiny).bfloat16()
    ascent = GradientAscent(half, img_size=16)
    pictures = ascent.deepdream("cat", half[2], 1, num_iter=2, return_output=True)
    assert pictures[-1].dtype == torch.bfloat16
