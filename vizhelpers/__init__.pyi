from . import flash as flash
from .exercises.public import check, hint, progress, solution
from .explore.panels import (
    explore_cam,
    explore_feature_maps,
    explore_filters,
    explore_kernels,
    explore_saliency,
    explore_structure,
    explore_summary,
)
from .inputs.classes import class_index
from .inputs.errors import ImageError, WeightsUnavailable
from .inputs.layers import get_layer, layer_names
from .inputs.models import load_model
from .inputs.photographs.images import composite, load_image, sample_images
from .inputs.samples import Sample, prepare
from .methods.activmax import activation_maximization
from .methods.cam import cam, cam_sweep
from .methods.cam_methods import CAM_METHODS
from .methods.features import feature_maps
from .methods.kernels import kernels
from .methods.prediction import Prediction, predict
from .methods.saliency import saliency
from .methods.structure import module_tree, summary
from .passes.capture import capture
from .stack import ImageStack

__version__: str
RENAMED: dict[str, str]

def renamed(old: str) -> object: ...

__all__ = [
    "CAM_METHODS",
    "ImageError",
    "ImageStack",
    "Prediction",
    "Sample",
    "WeightsUnavailable",
    "activation_maximization",
    "cam",
    "cam_sweep",
    "capture",
    "check",
    "class_index",
    "composite",
    "explore_cam",
    "explore_feature_maps",
    "explore_filters",
    "explore_kernels",
    "explore_saliency",
    "explore_structure",
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
