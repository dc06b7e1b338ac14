"""Explain why a checkpoint does not fit a model, with the lines of code that convert it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import Tensor

from vizhelpers.inputs.filetypes import is_safetensors

# Parts of parameter names that a wrapper adds: (part, its replacement, wrapper).
_INSIDE = (
    ("_orig_mod.", "", "torch.compile"),
    (".module.", ".", "torch.nn.DataParallel"),
)
_CLASSES = 1000  # of the torchvision classifiers that load_model builds
_State = Mapping[str, Any]


def explained(saved: Any, expected: Mapping[str, Tensor], path: Path, architecture: str) -> str:
    """Return why a checkpoint does not fit a model, with the lines of code that convert it.

    Args:
        saved: the content of the file.
        expected: the model's own state dict.
        path: of the file.
        architecture: the model's name.

    Returns:
        The end of an error text; "" if names and shapes are those of the model.
    """
    keys, state = _weights(saved, expected)
    if state is None:
        return _without_weights(saved)
    causes, lines = [], [_loading(path) + "".join(f"[{key!r}]" for key in keys)]
    if keys:
        causes.append(f"its weights are under the key {' > '.join(map(repr, keys))}")
    state, reasons, renaming = _renamed(state, expected)
    causes += reasons
    lines += [renaming] if reasons else []
    others = [name for name in state if name not in expected]
    if others and all(getattr(state[name], "numel", int)() < 2 for name in others):
        causes.append(f"it also holds {_some(others)}, which {architecture!r} does not have")
        lines += [
            f"names = torchvision.models.get_model({architecture!r}).state_dict()",
            "saved = {key: value for key, value in saved.items() if key in names}",
        ]
        state = {name: value for name, value in state.items() if name in expected}
    differences, classes = _differences(state, expected, architecture)
    causes += [differences] if differences else []
    if not causes:
        return ""
    if not differences:
        lines.append(f"torch.save(saved, {plain_name(path)!r})")
        remedy = f"Run these lines once, then pass weights={plain_name(path)!r}:"
        return with_lines(f"{'; '.join(causes)}. {remedy}", *lines)
    if classes is None:
        return (
            f"{'; '.join(causes)}. Load it into the architecture that it was saved from, or build "
            "that model yourself: vizhelpers takes any module, with transform= and labels=."
        )
    lines += [
        f"model = torchvision.models.get_model({architecture!r}, num_classes={classes})",
        "model.load_state_dict(saved)",
        "model.eval()",
    ]
    return with_lines(
        f"{'; '.join(causes)}. Build a model with {classes} classes yourself; vizhelpers takes it "
        "with transform= and labels=:",
        *lines,
    )


def with_lines(text: str, *lines: str) -> str:
    """Return a text with lines of code below it, preceded by the imports that they need."""
    packages = ("pickle", "torch", "torchvision", "safetensors.torch")
    used = [name for name in packages if f"{name}." in " ".join(lines)]
    return "\n    ".join([text, f"import {', '.join(used)}", *lines])


def plain_name(path: Path) -> str:
    """Return a path in the checkpoint's folder for its converted state dict."""
    return str(path.with_name(f"{path.stem}_plain.pth"))


def _loading(path: Path) -> str:
    if is_safetensors(path):
        return f"saved = safetensors.torch.load_file({str(path)!r})"
    return f"saved = torch.load({str(path)!r}, map_location='cpu', weights_only=True)"


def _weights(saved: Any, expected: _State) -> tuple[tuple[str, ...], _State | None]:
    """Return the keys that lead to the best fitting ``{name: tensor}``, and that mapping."""
    mappings = list(_mappings(saved))
    if not mappings:
        return (), None
    return max(
        mappings, key=lambda entry: (sum(_prefixes(entry[1], expected).values()), len(entry[1]))
    )


def _mappings(saved: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], _State]]:
    """Yield the keys to each ``{name: tensor}``, and that mapping, at most three keys deep."""
    if not isinstance(saved, Mapping):
        return
    named = {key: value for key, value in saved.items() if isinstance(key, str)}
    if any(isinstance(value, Tensor) for value in named.values()):
        yield keys, named
    for key, value in named.items() if len(keys) < 3 else ():
        yield from _mappings(value, (*keys, key))


def _without_weights(saved: Any) -> str:
    remedy = "Save the weights with torch.save(model.state_dict(), path)."
    if not isinstance(saved, Mapping):
        return f"it holds a {type(saved).__name__}, not a dictionary of weights. {remedy}"
    parts = [saved, *(value for value in saved.values() if isinstance(value, Mapping))]
    optimiser = any("param_groups" in part for part in parts)
    what = "the state of an optimiser, and no weights" if optimiser else "no weights"
    return f"it holds {what}; its keys: {_some(list(saved)) or 'none'}. {remedy}"


def _renamed(state: _State, expected: _State) -> tuple[_State, list[str], str]:
    """Return the weights under the model's own names, the reasons, and the line of code for it."""
    reasons, expression, others = [], "key", ""
    for part, put, wrapper in _INSIDE:
        if any(part in name for name in state):
            reasons.append(f"the names of its weights contain {part!r}, which {wrapper} adds")
            expression += f".replace({part!r}, {put!r})"
            state = {name.replace(part, put): value for name, value in state.items()}
    prefix, count = max(_prefixes(state, expected).items(), key=itemgetter(1), default=("", 0))
    if count < len(expected) / 2:  # another architecture with a few names in common
        prefix = "module." if all(name.startswith("module.") for name in state) else ""
    if prefix:
        wrapper = "torch.nn.DataParallel" if prefix == "module." else "a module around the model"
        reasons.append(f"the names of its weights begin with {prefix!r}, which {wrapper} adds")
        if not all(name.startswith(prefix) for name in state):
            others = f" if {expression}.startswith({prefix!r})"
        expression += f".removeprefix({prefix!r})"
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return (
        state,
        reasons,
        f"saved = {{{expression}: value for key, value in saved.items(){others}}}",
    )


def _prefixes(state: _State, expected: _State) -> Counter[str]:
    """Count the prefixes before names of the model; "" counts the names without a prefix."""
    counts: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        starts = (".".join(parts[:i]) + "." if i else "" for i in range(len(parts)))
        counts.update(start for start in starts if name.removeprefix(start) in expected)
    return counts


def _differences(state: _State, expected: _State, architecture: str) -> tuple[str, int | None]:
    """Return how weights differ from a model's, and the number of classes if only that differs."""
    # Old checkpoints lack BatchNorm's counter, which torch does not require.
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    sizes = {
        name: (_size(state[name]), _size(expected[name]))
        for name in expected
        if name in state and _size(state[name]) != _size(expected[name])
    }
    shown = 1 if missing or unexpected else 3
    shapes = ", ".join(
        f"{name!r} is {here} in the file and {there} in {architecture!r}"
        for name, (here, there) in list(sizes.items())[:shown]
    ) + (f" and {len(sizes) - shown} more" if len(sizes) > shown else "")
    if not missing and not unexpected:
        heads = {here[:1] for here, there in sizes.values() if here[1:] == there[1:]}
        outputs = all(there[:1] == (_CLASSES,) for _, there in sizes.values())
        return shapes, heads.pop()[0] if outputs and len(heads) == 1 else None
    parts = {name.partition(".")[0] for name in (*missing, *unexpected, *sizes)}
    words = [f"its part {parts.pop()!r} differs" if len(parts) == 1 else "its layers differ"]
    if unexpected:
        words.append(f"{architecture!r} has no {_some(unexpected)}")
    if missing:
        words.append(f"the file has no {_some(missing)}")
    return ", ".join([*words, shapes] if shapes else words), None


def _some(names: list[Any]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if names[3:] else "")


def _size(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))
