"""The photographs of a panel: the user's own, and the bundled ones."""

from typing import Any

from vizhelpers.explore.networks import Networks, Shapes
from vizhelpers.inputs.photographs.images import load_image, sample_images
from vizhelpers.inputs.samples import Sample, prepare
from vizhelpers.methods.cam_layers import LayersForCam
from vizhelpers.view.live.declaration import Choice

YOURS = "your photograph"


class Photographs:
    """The photographs of one panel, preprocessed for a network when they are first used.

    Attributes:
        networks: the panel's networks.
        start: name of the first photograph.
        sample: a function from the names of a network and a photograph to the ``Sample``; cached.
    """

    def __init__(self, networks: Networks, image: Any) -> None:
        """Offer the bundled photographs, and ``image`` if it is not the name of one of them."""
        self.networks = networks
        self._bundled = [*sample_images(), "cat_coffee"]
        self._own: dict[str, Any] = {}
        self.start = image if isinstance(image, str) and image in self._bundled else YOURS
        if self.start == YOURS:
            self._own[YOURS] = load_image(image)
        self.sample = networks.cached(self._prepare)

    def choice(self, **more: Any) -> Choice:
        """Return a menu of the photographs, with an upload button.

        Args:
            **more: further fields of the ``Choice``.
        """
        return Choice("photograph", self._names, self.start, upload=self._add, **more)

    def _names(self) -> list[str]:
        """Return the names on offer, the newest upload first."""
        return [*reversed(self._own), *self._bundled]

    def _add(self, upload: Any) -> str:
        """Offer an uploaded file under a new name, and return that."""
        photograph = load_image(upload)
        name = YOURS if YOURS not in self._own else f"{YOURS} {len(self._own) + 1}"
        self._own[name] = photograph
        return name

    def _prepare(self, network: str, name: str) -> Sample:
        photograph = self._own.get(name, name)
        transform = self.networks.transform(network)
        return prepare(self.networks[network], photograph, transform=transform)

    def size(self, network: str, name: str) -> tuple[int, ...]:
        """Return the shape of a network's input for a photograph, (N, C, H, W)."""
        return tuple(self.sample(network, name).x.shape)

    def map_shapes(self, network: str, name: str) -> Shapes:
        """Return ``{layer: (N, C, h, w)}`` of the layers with maps, for a photograph."""
        return self.networks.map_shapes(network, self.size(network, name))

    def layers_for_cam(self, network: str, name: str) -> LayersForCam:
        """Return the layers with maps of several cells, for a photograph."""
        return self.networks.layers_for_cam(network, self.size(network, name))
