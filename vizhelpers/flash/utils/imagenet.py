"""ImageNet's class indices by class name or a part of it."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping

from vizhelpers.inputs.weights.sources import DATA

# ImageNet gives pairs of classes one name, which FlashTorch makes unique. For the other 994 classes
# its names are torchvision's, which the rest of this package uses.
_FLASHTORCHS_OWN = {
    134: "crane wading bird",
    264: "cardigan corgi",
    474: "cardigan clothing",
    517: "crane lifting device",
    638: "maillot tights",
    639: "maillot swimsuit",
}


class ImageNetIndex(Mapping[str, int | None]):
    """A dictionary from class names (lower case) to class indices 0 to 999.

    ``index[phrase]`` looks for the phrase itself, then for a word of it that is a whole name, then
    for names that contain a word of it. Upper and lower case are alike.

    Example:
        >>> ImageNetIndex()["dalmatian dog"]
        251
    """

    def __init__(self) -> None:
        """Read the class names from the package's data."""
        names = (DATA / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
        self._index = {
            _FLASHTORCHS_OWN.get(index, name.lower().replace("_", " ")): index
            for index, name in enumerate(names)
        }

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of their indices."""
        return iter(self._index)

    def __getitem__(self, phrase: str) -> int | None:
        """Return the index of the one class that matches.

        Returns:
            The index, 0 to 999; None if no class matches, as in FlashTorch. ``Backprop`` takes
            None for the predicted class.

        Raises:
            TypeError: not a string.
            ValueError: several classes match; the text lists them.
        """
        if not isinstance(phrase, str):
            raise TypeError(f"Target class needs to be a string, got {type(phrase).__name__}.")
        if phrase.lower() in self._index:
            return self._index[phrase.lower()]
        matches = self._matches(phrase.lower().split())
        if len(matches) > 1:
            raise ValueError(
                f"Multiple potential matches found: {', '.join(matches)}. Write one of them."
            )
        return self._index[matches[0]] if matches else None

    def __contains__(self, key: object) -> bool:
        """Return whether a class name contains this text."""
        if not isinstance(key, str) or not key:
            return False
        return any(key.lower() in name for name in self._index)

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._index.keys()

    def items(self) -> ItemsView[str, int | None]:
        """Return (name, index) pairs."""
        return ItemsView(self._index)

    def _matches(self, words: list[str]) -> list[str]:
        whole = [name for name in self._index if name in words]
        return whole or [name for name in self._index if any(word in name for word in words)]
