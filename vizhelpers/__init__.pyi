from . import flash as flash
from . import labs as labs
from .classes import Prediction, class_index, predict
from .errors import ImageError, WeightsUnavailable
from .explore.panels import (
    explore_cam,
    explore_feature_maps,
    explore_filters,
    explore_kernels,
    explore_saliency,
    explore_structure,
    explore_summary,
)
from .images import composite, load_image, sample_images
from .layers import capture, get_layer, layer_names
from .methods.activmax import activation_maximization
from .methods.cam import cam, cam_sweep
from .methods.cam_methods import CAM_METHODS
from .methods.features import feature_maps
from .methods.kernels import kernels
from .methods.saliency import saliency
from .methods.structure import module_tree, summary
from .models import load_model
from .samples import Sample, prepare
from .stack import ImageStack

__version__: str
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
    "kernels",
    "labs",
    "layer_names",
    "load_image",
    "load_model",
    "module_tree",
    "predict",
    "prepare",
    "saliency",
    "sample_images",
    "summary",
]
