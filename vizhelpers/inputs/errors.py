"""Error texts that name the given value, the possible values, and a remedy."""

import difflib
import re
from collections.abc import Iterable, Sequence

_LONGEST = 80  # characters of a value in an error text
_SUGGESTED = 3  # names


class ImageError(ValueError):
    """The picture cannot be read or converted."""


class WeightsUnavailable(ValueError):
    """Weights cannot be loaded: no internet connection, a damaged file, another model's weights."""


def unknown(kind: str, given: object, possible: Iterable[object], remedy: str = "") -> ValueError:
    """Return the ``ValueError`` for a name that does not exist.

    Args:
        kind: what the name stands for, such as ``"layer"``.
        given: the caller's value.
        possible: all valid names, of which the error suggests the nearest; of a ``range`` it gives
            the first and the last number.
        remedy: a further sentence, such as where to find all names.
    """
    names = [str(name) for name in possible]
    near = nearest(given, names) if isinstance(given, str) and len(given) < 200 else []
    if isinstance(possible, range):
        near = []
    if not names:
        hint = "There is none at all."
    elif isinstance(possible, range):
        hint = f"Possible: {names[0]} to {names[-1]}."
    elif near:
        hint = f"Did you mean {' or '.join(repr(name) for name in near)}?"
    else:
        shown = ", ".join(repr(name) for name in names[:12])
        hint = f"Possible: {shown}{f', … ({len(names)} in all)' if len(names) > 12 else ''}."
    return ValueError(f"There is no {kind} {repr_of(given)}. {hint} {remedy}".rstrip())


def repr_of(given: object) -> str:
    """Return a short ``repr`` for an error text: the shape of an array, else 80 characters.

    The type follows, unless it is obvious: for None, strings and integers.
    """
    kind = type(given).__name__
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{kind} of shape {tuple(shape)}"
    shown = repr(given)
    if len(shown) > _LONGEST:
        shown = f"{shown[: _LONGEST - 1]}…"
    obvious = given is None or isinstance(given, (str, int))
    return shown if obvious else f"{shown} ({kind})"


def nearest(given: str, names: list[str]) -> list[str]:
    """Return up to three names that resemble ``given``, nearest first.

    They contain it as whole words. If no name does, a word in them begins with it; if none does,
    they are spelt similarly ("cat" finds "tiger cat", and neither "crate" nor "castle").
    """
    by_lower = {name.lower(): name for name in reversed(names)}
    lower, known = given.strip().lower(), list(dict.fromkeys(map(str.lower, names)))
    by_word = [sorted(with_words(lower, known, whole=whole), key=len) for whole in (True, False)]
    # Chinese is written without spaces between words.
    may_be_inside = len(lower) > 2 or not lower.isascii()
    inside = sorted((name for name in known if may_be_inside and lower in name), key=len)
    best = next(filter(None, [*by_word, _spelt_alike(lower, known), inside]), [])
    return [by_lower[name] for name in best[:_SUGGESTED]]


def _spelt_alike(given: str, names: list[str]) -> list[str]:
    """Return the names spelt like ``given``, or with a word spelt like it: "cats" finds "cat"."""
    words = {word for name in names for word in re.split(r"[\W_]+", name) if word}
    (best,) = difflib.get_close_matches(given, [*names, *words], n=1, cutoff=0.6) or [""]
    if best in words.difference(names):
        return sorted(with_words(best, names), key=len)
    return difflib.get_close_matches(given, names, n=_SUGGESTED, cutoff=0.6)


def with_words(words: str, names: Sequence[str], *, whole: bool = True) -> list[str]:
    """Return the names that contain ``words`` as whole words; upper and lower case are alike.

    Args:
        words: one word, or several in this order.
        names: searched; the result keeps their order.
        whole: False if the last word may be longer: "retriev" finds "golden retriever".
    """
    if not words.strip():
        return []
    end = "(?![^\\W_])" if whole else ""
    pattern = re.compile(f"(?<![^\\W_]){re.escape(words.strip())}{end}", re.IGNORECASE)
    return [name for name in names if pattern.search(name)]
