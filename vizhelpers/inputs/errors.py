"""Error texts that name what was given, what is possible, and the way on."""

import difflib
import re
from collections.abc import Iterable, Sequence


class ImageError(ValueError):
    """A picture that cannot be read, or cannot be shown to a network."""


class WeightsUnavailable(ValueError):
    """Weights that cannot be had: no network, a damaged file, another model's state dict."""


def unknown(kind: str, given: object, possible: Iterable[object], way_on: str = "") -> ValueError:
    """Build (not raise) the error for a name that does not exist.

    Args:
        kind: what was looked for, such as ``"layer"``.
        given: what the caller wrote.
        possible: every name that would have worked; the nearest are named first. A ``range`` is
            told by its ends: the number nearest to 700 helps nobody.
        way_on: one more sentence: where a full list stands.

    Returns:
        A ``ValueError`` to be raised.
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
    return ValueError(f"There is no {kind} {said(given)}. {hint} {way_on}".rstrip())


def said(given: object, longest: int = 80) -> str:
    """Return what was given as an error text can hold it: of arrays the shape, of texts the start.

    Numbers and texts speak for themselves; of anything else the kind is said too.
    """
    kind = type(given).__name__
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{kind} of shape {tuple(shape)}"
    written = repr(given)
    if len(written) > longest:
        written = f"{written[: longest - 1]}…"
    plain = given is None or isinstance(given, (str, int))
    return written if plain else f"{written} ({kind})"


def nearest(given: str, names: list[str], count: int = 3) -> list[str]:
    """Return up to ``count`` names that resemble ``given``, nearest first.

    Names that contain it as whole words are preferred to names in which a word begins with it, and
    these to names that are spelt alike ("cat" finds "tiger cat", and neither "crate" nor "castle").
    """
    by_lower = {name.lower(): name for name in reversed(names)}
    lower, known = given.strip().lower(), list(dict.fromkeys(map(str.lower, names)))
    ways = [sorted(with_words(lower, known, whole=whole), key=len) for whole in (True, False)]
    # Chinese is written without spaces between words.
    part = len(lower) > 2 or not lower.isascii()
    inside = sorted((name for name in known if part and lower in name), key=len)
    best = next(filter(None, [*ways, _spelt_alike(lower, known, count), inside]), [])
    return [by_lower[name] for name in best[:count]]


def _spelt_alike(given: str, names: list[str], count: int) -> list[str]:
    """Return the names spelt like ``given``, or with a word spelt like it: "cats" finds "cat"."""
    words = {word for name in names for word in re.split(r"[\W_]+", name) if word}
    (best,) = difflib.get_close_matches(given, [*names, *words], n=1, cutoff=0.6) or [""]
    if best in words.difference(names):
        return sorted(with_words(best, names), key=len)
    return difflib.get_close_matches(given, names, n=count, cutoff=0.6)


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
    wanted = re.compile(f"(?<![^\\W_]){re.escape(words.strip())}{end}", re.IGNORECASE)
    return [name for name in names if wanted.search(name)]
