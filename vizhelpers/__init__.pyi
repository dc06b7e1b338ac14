from . import flash as flash
from .exercises.public import check, hint, progress, solution
from .explore.activation_maximization import explore_activation_maximization
from .explore.cam import explore_cam
from .explore.feature_maps import explore_feature_maps
from .explore.kernels import explore_kernels
from .explore.module_tree import explore_module_tree
from .explore.saliency import explore_saliency
from .explore.summary import explore_summary
from .inputs.classes import class_index
from .inputs.errors import ImageError, WeightsUnavailable
from .inputs.layers import get_layer, layer_names
from .inputs.models import load_model
from .inputs.photographs.images import composite, load_image, sample_images
from .inputs.samples import Sample, prepare
from .methods.activmax import activation_maximization
from .methods.cam import cam, cam_sweep
from .methods.cam_layers import cam_layers
from .methods.cam_methods import CAM_METHODS
from .methods.features import feature_maps
from .methods.kernels import kernels
from .methods.prediction import Prediction, predict
from .methods.saliency import saliency
from .methods.structure import ModelSummary, ModuleTree, module_tree, summary
from .passes.capture import capture
from .stack import ImageStack
from .view.live.panel import Panel

__version__: str
RENAMED: dict[str, str]

def renamed(old: str) -> object: ...

__all__ = [
    "CAM_METHODS",
    "ImageError",
    "ImageStack",
    "ModelSummary",
    "ModuleTree",
    "Panel",
    "Prediction",
    "Sample",
    "WeightsUnavailable",
    "activation_maximization",
    "cam",
    "cam_layers",
    "cam_sweep",
    "capture",
    "check",
    "class_index",
    "composite",
    "explore_activation_maximization",
    "explore_cam",
    "explore_feature_maps",
    "explore_kernels",
    "explore_module_tree",
    "explore_saliency",
    "explore_summary",
    "feature_maps",
    "flash",
    "get_layer",
    "hint",
    "kernels",
    "layer_names",
    "load_image",
    "load_model",
    "module_tree",
    "predict",
    "prepare",
    "progress",
    "saliency",
    "sample_images",
    "solution",
    "summary",
]
