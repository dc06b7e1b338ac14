"""``viz.cam_layers``: the layers at which a class activation map makes sense, for any network."""

import gc
import weakref
from collections import OrderedDict
from importlib.util import find_spec

import pytest
import torch
import torchvision
from families import SMALLEST, loaded, noise
from networks import SMALL, TINY, Net, unit_variance
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.passes.maps import as_maps

# Smallest of each family -> its last layer, and the number of layers. The reasons:
# - Of a stage of blocks in an nn.Sequential each block is listed; a stage that is a class of its
#   own (RegNet's, MaxViT's, DenseNet's dense blocks) is one layer.
# - The 1x1 convolution after MobileNet's and EfficientNet's blocks is the last layer.
# - A normalisation after the last block is what the head reads: DenseNet's, Swin's, and the one
#   of MNASNet's and ShuffleNet's last convolution, which stands beside it and not in a block.
# - AlexNet and VGG end in a convolution, a ReLU and pooling: the convolution is the layer.
# - SqueezeNet's classifier.1 puts out the class maps themselves, so its last fire module is taken.
# - GoogLeNet's and Inception's auxiliary classifiers do not run in eval mode.
# - ViT's last block passes on what the head does not read: the patches' tokens. The last place
#   where they count is before its attention.
TORCHVISION = {
    "alexnet": ("features.10", 5),
    "convnext_tiny": ("features.7.2", 1 + 18 + 3),  # stem, blocks, downsampling convolutions
    "densenet121": ("features.norm5", 1 + 4 + 3 + 1),  # stem, dense blocks, transitions, norm5
    "efficientnet_b0": ("features.8", 1 + 16 + 1),
    "efficientnet_v2_s": ("features.7", 1 + 40 + 1),
    "googlenet": ("inception5b", 3 + 9),
    "inception_v3": ("Mixed_7c", 5 + 11),
    "maxvit_t": ("blocks.3", 2 + 4),
    "mnasnet0_5": ("layers.15", 3 + 16 + 2),
    "mobilenet_v2": ("features.18", 1 + 17 + 1),
    "mobilenet_v3_small": ("features.12", 1 + 11 + 1),
    "regnet_x_400mf": ("trunk_output.block4", 1 + 4),
    "resnet18": ("layer4.1", 1 + 8),
    "resnext50_32x4d": ("layer4.2", 1 + 16),
    "shufflenet_v2_x0_5": ("conv5.1", 1 + 16 + 2),
    "squeezenet1_1": ("features.12", 1 + 8),
    "swin_t": ("norm", 1 + 12 + 3 + 1),  # patches, blocks, patch merging, norm
    "swin_v2_t": ("norm", 1 + 12 + 3 + 1),
    "vgg11": ("features.18", 8),
    "vit_b_32": ("encoder.layers.encoder_layer_11.ln_1", 1 + 11 + 1),
    "wide_resnet50_2": ("layer4.2", 1 + 16),
}
# In timm, stages are mostly classes of their own. Differences:
# - Its EfficientNet keeps BatchNorm and activation of the last convolution in ``bn2``; so does the
#   pre-activation ResNetV2 in ``norm``.
# - Its MobileNetV3 and GhostNet pool before ``conv_head``, which has one cell: the stage before it
#   is the last.
# - Normaliser-free networks end in a convolution.
# - Mixer has no class token: the head reads the mean of all tokens, after ``norm``.
TIMM = {
    "convnext_atto": ("stages.3", 1 + 4),
    "convnext_nano": ("stages.3", 1 + 4),
    "deit_tiny_patch16_224": ("blocks.11.norm1", 1 + 11 + 1),
    "densenet121": ("features.norm5", 1 + 4 + 3 + 1),
    "eca_nfnet_l0": ("final_conv", 4 + 12 + 1),
    "edgenext_xx_small": ("stages.3", 1 + 4),
    "efficientnet_b0": ("bn2", 1 + 16 + 2),
    "ghostnet_050": ("blocks.9.0", 1 + 16 + 1),
    "inception_v3": ("Mixed_7c", 5 + 11),
    "legacy_xception": ("bn4", 2 + 12 + 3),
    "mixer_s32_224": ("norm", 1 + 8 + 1),
    "mobilenetv3_small_050": ("blocks.5.0", 1 + 11 + 1),
    "regnetx_002": ("s4", 1 + 4),
    "resnet18": ("layer4.1", 1 + 8),
    "resnetv2_50": ("norm", 1 + 4 + 1),
    "swin_tiny_patch4_window7_224": ("norm", 1 + 4 + 1),
    "vgg11": ("features.18", 8),
    "vit_tiny_patch16_224": ("blocks.11.norm1", 1 + 11 + 1),
}
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:The default weight initialization")
PHOTOGRAPH = torch.empty(1, 3, 224, 224, device="meta")


def chosen(model: nn.Module) -> tuple[str, int]:
    layers = viz.cam_layers(model, PHOTOGRAPH)
    return layers[-1], len(layers)


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_last_layer_of_torchvisions_families_is(name: str) -> None:
    # RegNet computes its widths with tensors, which need a real device.
    with torch.device("cpu" if "regnet" in name else "meta"):
        model = torchvision.models.get_model(name, weights=None)
    assert chosen(model) == TORCHVISION[name]


def test_every_family_of_torchvision_is_in_the_table() -> None:
    assert set(TORCHVISION) == set(SMALLEST.values())


@needs_timm
@pytest.mark.parametrize("name", TIMM)
def test_the_last_layer_of_timms_models_is(name: str) -> None:
    import timm

    # Not on the meta device: old versions of timm cannot initialise weights there.
    model = timm.create_model(name, pretrained=False)
    assert chosen(model) == TIMM[name]


def maps_and_gradient(model: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return a layer's maps (C, h, w), and the gradient of the largest logit there."""
    record: dict[str, Tensor] = {}

    def keep(module: nn.Module, args: object, output: Tensor) -> Tensor:
        record["output"] = output.requires_grad_()
        return output.clone()  # an in-place ReLU may follow

    handle = model.get_submodule(layer).register_forward_hook(keep)
    logits = model(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0].max(), record["output"])
    maps = as_maps(model, layer, record["output"].detach(), x)[0]
    return maps, as_maps(model, layer, gradient, x)[0]


def check_last_layer(model: nn.Module, x: Tensor) -> None:
    """Check the gradient at the last layer, and that Grad-CAM differs from cell to cell.

    The gradient itself is the same in all cells if only a mean and a linear layer follow. Behind a
    ReLU a cell of a few channels may have none.
    """
    maps, gradient = maps_and_gradient(model, x, viz.cam_layers(model, x)[-1])
    assert maps[0].numel() > 1
    assert (gradient.abs().sum(0) > 0).float().mean() > 0.8
    cam = torch.einsum("c,chw->hw", gradient.mean((1, 2)), maps)
    assert cam.std() > 0.01 * cam.abs().max() > 0


@pytest.mark.parametrize(
    "name",
    ["densenet121", "googlenet", "mobilenet_v3_small", "resnet18", "squeezenet1_1", "swin_t"],
)
def test_gradients_reach_the_last_layer_and_grad_cam_differs_from_cell_to_cell(name: str) -> None:
    check_last_layer(*loaded(name))


@needs_timm
@pytest.mark.parametrize(
    ("name", "side"),
    [("efficientnet_b0", 64), ("mixer_s32_224", 224), ("vit_tiny_patch16_224", 224)],
)
def test_gradients_reach_the_last_layer_of_timms_models(name: str, side: int) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=False)
    x = noise(side)
    check_last_layer(unit_variance(model, x), x)


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_the_last_layer_of_small_networks(name: str) -> None:
    check_last_layer(TINY[name].built(), TINY[name].x())


def test_the_output_of_a_transformers_last_block_has_no_gradient_in_the_patches() -> None:
    model, x = TINY["attention"].built(), TINY["attention"].x()
    assert viz.cam_layers(model, x) == ["patches", "norm1"]
    _, gradient = maps_and_gradient(model, x, "norm2")  # after the attention
    assert not gradient.any()


class Backwards(nn.Module):
    """Defines its layers in the opposite order of their execution."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 5)
        self.c, self.b, self.a = nn.Conv2d(5, 6, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x))).mean((2, 3)))


def test_layers_are_listed_in_the_order_of_execution() -> None:
    model = Backwards()
    assert viz.layer_names(model) == ["head", "c", "b", "a"]
    assert viz.cam_layers(model) == ["a", "b", "c"]
    assert viz.cam(model, torch.randn(1, 3, 16, 16)).axes["layer"] == ["c"]


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)) + x)


def body(*blocks: nn.Module) -> nn.Sequential:
    """Return a network: a convolution, these blocks, and a head."""
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    return nn.Sequential(stem, *blocks, *head)


def test_blocks_are_listed_and_not_their_parts_or_the_sequential_around_them() -> None:
    stage = nn.Sequential(Block(4), Block(4))
    assert viz.cam_layers(body(stage, nn.Dropout(0.5))) == ["0.0", "1.0", "1.1"]


def test_a_module_that_holds_the_blocks_is_opened() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(Block(4), Block(4), Block(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks(x)

    inside = ["1.blocks.0", "1.blocks.1", "1.blocks.2"]
    assert viz.cam_layers(body(Encoder())) == ["0.0", *inside, "1"]


def test_a_normalisation_counts_only_after_the_last_block() -> None:
    blocks = [Block(4), nn.GroupNorm(2, 4), Block(4), nn.GroupNorm(2, 4), nn.ReLU()]
    assert viz.cam_layers(body(*blocks)) == ["0.0", "1", "3", "4"]


def test_class_maps_are_left_out_unless_there_are_no_other_maps() -> None:
    ending = [nn.Conv2d(4, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    assert viz.cam_layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *ending)) == ["0"]
    assert viz.cam_layers(nn.Sequential(nn.Conv2d(3, 5, 1), *ending[1:])) == ["0"]


def test_a_last_layer_with_as_many_channels_as_classes_counts_if_a_head_follows() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    assert viz.cam_layers(nn.Sequential(*layers, nn.Linear(5, 5))) == ["0", "1"]


def test_the_shape_of_the_sample_counts() -> None:
    halving = [nn.Conv2d(c, 4, 1, stride=2) for c in (3, 4, 4, 4)]
    model = nn.Sequential(*halving, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    assert viz.cam_layers(model) == viz.cam_layers(model, torch.randn(1, 3, 32, 32))
    assert viz.cam_layers(model, torch.randn(1, 3, 32, 32)) == ["0", "1", "2", "3"]
    assert viz.cam_layers(model, torch.randn(2, 3, 8, 8)) == ["0", "1"]  # then one cell
    assert viz.cam_layers(model, viz.prepare(model, "cat", transform=SMALL)) == ["0", "1", "2"]


def test_the_bundled_models_last_layer_is_its_last_fire_module(model: nn.Module) -> None:
    layers = viz.cam_layers(model)
    assert layers == [f"features.{i}" for i in (0, 3, 4, 6, 7, 9, 10, 11, 12)]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Conv1d(3, 3, 3)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 5, 1), nn.Flatten()),
    ],
    ids=["linear layers", "signals", "one cell"],
)
def test_without_maps_an_error_says_what_is_needed_and_the_way_on(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"rows and columns.*more than one cell.*viz\.capture"):
        viz.cam_layers(model)


def test_the_errors_of_the_input_are_those_of_other_functions() -> None:
    model = Net()
    with pytest.raises(ValueError, match=r"x\.unsqueeze\(0\)"):
        viz.cam_layers(model, torch.randn(3, 12, 12))
    with pytest.raises(ValueError, match="'first'"):
        viz.cam_layers(model, torch.randn(1, 4, 12, 12))
    with pytest.raises(ValueError, match="a sample to cam_layers"):
        viz.cam_layers(nn.Sequential(nn.Conv2d(7, 3, 3), nn.Flatten(), nn.Linear(17, 5)))
    with pytest.raises(ValueError, match=r"lazy layers.*Run model\(x\) once"):
        viz.cam_layers(nn.Sequential(nn.LazyConv2d(4, 3)))
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        viz.cam_layers("resnet18")  # type: ignore[arg-type]


def test_wrapped_models_and_models_on_the_meta_device_have_the_same_layers() -> None:
    wrapped = (nn.DataParallel(Net()), torch.compile(Net()), Net().to("meta"))
    for model in (*wrapped, nn.DataParallel(Net()).train()):
        assert viz.cam_layers(model) == ["first", "second"]


def test_the_users_hooks_are_not_called_and_stay() -> None:
    model, calls = Net().train(), []
    model.first.register_forward_hook(lambda *given: calls.append(given))
    assert viz.cam_layers(model) == ["first", "second"]
    assert not calls and model.training
    model(torch.randn(1, 3, 12, 12))
    assert len(calls) == 1


def test_a_repeated_call_runs_nothing_even_after_training() -> None:
    runs = []

    class Counting(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            runs.append(tuple(x.shape))
            return super().forward(x)

    model = Counting(*body(Block(4), Block(4)))
    assert viz.cam_layers(model) == ["0.0", "1", "2"]
    once = len(runs)
    viz.cam_layers(model).clear()  # the caller's own list
    nn.init.zeros_(model.train()[5].weight)
    assert viz.cam_layers(model) == ["0.0", "1", "2"]
    assert len(runs) == once > 0


def test_a_changed_model_is_examined_again() -> None:
    x = torch.randn(1, 3, 12, 12)
    block = Block(4)
    model = body(nn.Sequential(OrderedDict(block.named_children())), nn.ReLU())
    assert viz.cam_layers(model, x) == ["0.0", "1.conv", "1.norm"]
    model[1] = block  # the same parts in another class
    assert viz.cam_layers(model, x) == ["0.0", "1.conv", "1"]
    model[2] = nn.Conv2d(4, 4, 3)
    assert viz.cam_layers(model, x) == ["0.0", "1", "2"]
    model[2].stride = (3, 3)  # too far for another cell
    assert viz.cam_layers(model, x)[-1] == "1"
    model[2].stride = (1, 1)
    assert viz.cam_layers(model, x)[-1] == "2"
    model._modules = {{"2": "y"}.get(path, path): m for path, m in model._modules.items()}
    assert viz.cam_layers(model, x) == ["0.0", "1", "y"]


def test_a_model_that_was_examined_can_be_freed() -> None:
    model = Net()
    viz.cam_layers(model)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
