"""Bad input: pictures, arrays and arguments are handled as a user expects, or refused in words.

Nothing here measures speed. Where a test looks at the clock it is to end a hang: a picture that
takes five seconds is one that would take minutes (a JPEG of 300 kB that is drawn 20,000 times
took three), and no machine is so slow that a small one takes that long.
"""

import io
import re
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from malformed import CORNERS, Case, corpus, encoded, quarters
from PIL import Image, ImageFile, PngImagePlugin

import vizhelpers as viz

HANGS = 5.0  # seconds
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# ------------------------------------------------------------ 350 pictures


def world() -> tuple[object, ...]:
    """What a decoder might change for the whole process."""
    return (
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
        PngImagePlugin.MAX_TEXT_CHUNK,
        tuple(warnings.filters),
        tuple(np.geterr().items()),
    )


def most_memory() -> int:
    """Return the most bytes that this process ever held."""
    resource = pytest.importorskip("resource")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def fault(case: Case, folder: Path) -> tuple[str, str]:
    """Return what became of a picture, and what is wrong with that, or ""."""
    source = case.make(folder)
    start = time.monotonic()
    try:
        image = viz.load_image(source)
    except viz.ImageError as error:
        found, wrong = "refused", "" if len(str(error)) < 700 else "a text that nobody reads"
        if not re.search(case.words, str(error)):
            wrong = f"{error}, which does not match {case.words}"
    except Exception as error:
        return "raised", f"{type(error).__name__}: {error}"[:200]
    else:
        found, wrong = "reads", wrong_picture(case, image)
    if time.monotonic() - start > HANGS:
        return found, "it hangs"
    if case.outcome not in (found, "either"):
        return found, f"{found}, but it ought to be {case.outcome}"
    return found, wrong


def wrong_picture(case: Case, image: Image.Image) -> str:
    if image.mode != "RGB" or image.size != case.size:
        return f"{image.mode} of {image.size}, not {case.size}"
    for place, colour in (case.colours or {}).items():
        seen = image.getpixel(place)
        if np.abs(np.subtract(seen, colour)).max() > case.tolerance:
            return f"{seen} at {place}, not {colour}"
    return ""


def test_each_of_350_pictures_reads_right_or_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases, seen, faults = corpus(), Counter[str](), {}
    before, memory = world(), most_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = world()
        for i, case in enumerate(cases):
            folder = tmp_path / str(i)
            folder.mkdir()
            found, wrong = fault(case, folder)
            seen[found] += 1
            if wrong:
                faults[case.name] = wrong
            assert world() == inside, f"{case.name} changed the process"
    with capsys.disabled():
        told = f"{len(cases)} pictures: {seen['reads']} read, {seen['refused']} refused"
        sys.stdout.write(f" {told} ")
    assert not faults
    assert len(cases) >= 350 and len({case.name for case in cases}) == len(cases)
    assert seen["reads"] > 100 and seen["refused"] > 100
    assert world() == before
    # The bombs claim 10 GB and more; the largest picture that is right takes 75 MB as RGB.
    assert most_memory() - memory < 1_000_000_000


def test_the_judge_of_that_corpus_sees_a_wrong_size_colour_or_outcome(tmp_path: Path) -> None:
    data = encoded(quarters(), "PNG")
    right = Case("reads", "", data, CORNERS)
    assert fault(right, tmp_path) == ("reads", "")
    for field, value in (("size", (32, 64)), ("colours", {(8, 8): (0, 0, 255)})):
        assert fault(Case(**{**vars(right), field: value}), tmp_path)[1]
    assert fault(Case("refused", "", data), tmp_path)[1]
    assert fault(Case("reads", "", b""), tmp_path)[1]
    assert fault(Case("refused", "", b"", words="a PDF"), tmp_path)[1]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_picture_is_turned_once_and_the_readers_own_stays_as_it_was(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.open(io.BytesIO(encoded(quarters(), "PNG", exif=exif)))
    before = image.copy()
    once = viz.load_image(image)
    np.testing.assert_array_equal(np.asarray(viz.load_image(once)), np.asarray(once))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(before))
    assert image.getexif()[0x0112] == orientation and image.mode == "RGB"


# ------------------------------------------------------------ arrays, tensors and other objects

SHAPES = st.one_of(
    st.lists(st.integers(0, 20), max_size=5).map(tuple),
    st.tuples(st.integers(6, 20), st.integers(6, 20)),
    st.tuples(st.integers(6, 20), st.integers(6, 20), st.sampled_from([1, 2, 3, 4, 5])),
)
DTYPES = ["u1", "u2", "u8", "i1", "i4", "i8", "f2", "f4", "f8", "g", "c8", "c16", "?", "O", "U3",
          "S2", "M8[s]", "m8[s]", "V4", "i4,f4", ">u2", ">f4"]  # fmt: skip
NUMBERS = [0.0, 0.25, 1.0, 255.0, -1.0, 300.0, np.nan, np.inf, -np.inf, 1e300]


def is_a_picture_or_refused(source: Any) -> Image.Image | None:
    """Load it; whatever comes must be RGB, and no warning may come."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = viz.load_image(source)
        except viz.ImageError as error:
            assert str(error)
            return None
    assert isinstance(image, Image.Image) and image.mode == "RGB" and min(image.size) >= 8
    return image


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of any kind, also views that run backwards, are cut out, locked, or masked."""
    shape, kind = draw(SHAPES), draw(st.sampled_from(DTYPES))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if kind in ("U3", "S2", "V4", "i4,f4", "M8[s]", "m8[s]"):
            array = np.zeros(shape, dtype=kind)
        else:
            array = np.full(shape, draw(st.sampled_from(NUMBERS[:4]))).astype(kind)
            if array.size:
                array.flat[draw(st.integers(0, array.size - 1))] = np.array(
                    draw(st.sampled_from(NUMBERS))
                ).astype(kind)
    look = draw(st.sampled_from(["as it is", "backwards", "every second", "transposed", "locked",
                                 "masked", "Fortran"]))  # fmt: skip
    if look == "backwards" and array.ndim:
        array = array[::-1]
    if look == "every second" and array.ndim:
        array = array.repeat(2, axis=0)[::2]
    if look == "transposed" and array.ndim >= 2:
        array = array.swapaxes(0, 1)
    if look == "Fortran":
        array = np.asfortranarray(array)
    if look == "masked":
        return np.ma.array(array, mask=draw(st.booleans()))
    if look == "locked":
        array.flags.writeable = False
    return array


@settings(QUICK, max_examples=250)
@given(arrays())
def test_any_array_is_a_picture_or_refused(array: np.ndarray) -> None:
    before = array.tobytes() if array.dtype != object else None
    image = is_a_picture_or_refused(array)
    assert before is None or array.tobytes() == before
    if image is not None:
        assert image.size == (array.shape[1], array.shape[0])
        assert array.dtype == bool or array.dtype == np.uint8 or array.dtype.kind == "f"
        assert not np.ma.is_masked(array)
        plain = np.asarray(array)
        assert array.dtype.kind != "f" or (np.isfinite(plain).all() and plain.max() <= 1.001)


@QUICK
@given(hnp.arrays(np.uint8, st.tuples(*[st.integers(8, 20)] * 2, st.sampled_from([1, 3]))))
def test_bytes_are_shown_as_they_are_and_floats_to_the_nearest_level(array: np.ndarray) -> None:
    expected = array.repeat(3 // array.shape[2], axis=2)
    for source in (array, array[::-1][::-1], np.asfortranarray(array), array / 255.0,
                   (array / 255).astype(np.float32), torch.from_numpy(array)):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(viz.load_image(source)), expected)


def test_any_tensor_is_a_picture_or_refused() -> None:
    grey = torch.full((9, 12, 3), 0.5)
    shown = {
        "float16": grey.half(),
        "bfloat16": grey.bfloat16(),
        "float64": grey.double(),
        "needs gradients": grey.clone().requires_grad_(),
        "result of a computation": grey.clone().requires_grad_() * 1,
        "a view": grey.flip(0)[:, ::1],
        "a parameter": torch.nn.Parameter(grey),
        "made in inference mode": _inference(grey),
    }
    for name, tensor in shown.items():
        image = is_a_picture_or_refused(tensor)
        assert image is not None, name
        assert image.getpixel((3, 3)) == (128, 128, 128), name
    refused = {
        "no numbers": torch.empty(9, 12, 3, device="meta"),
        "sparse": torch.eye(9).to_sparse(),
        "complex": torch.zeros(9, 12, 3, dtype=torch.complex64),
        "integers": torch.zeros(9, 12, 3, dtype=torch.int64),
        "channels first": torch.zeros(3, 9, 12),
        "a batch": torch.zeros(1, 3, 9, 12),
        "one number": torch.tensor(0.5),
        "nothing": torch.empty(0),
        "NaN": torch.full((9, 12, 3), torch.nan),
    }
    for name, tensor in refused.items():
        assert is_a_picture_or_refused(tensor) is None, name


def _inference(tensor: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return tensor * 1


class Hostile:
    """An object whose ``__array__`` is a trap."""

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise ZeroDivisionError("trap")


# Drawn by number: hypothesis would want to hash them.
ODD: list[Any] = [
    Hostile(),
    object(),
    print,
    int,
    ...,
    NotImplemented,
    range(9),
    iter([]),
    np.float32(0.5),
    np.bool_(True),
    np.str_("cat.jpg"),
    np.array(None),
    memoryview(np.zeros((9, 9, 3))),
    memoryview(b"abcdef")[::2],
    Path("nowhere.png"),
    10**400,
    float("nan"),
    b"",
    io.BytesIO(b"x"),
    torch.Generator(),
    torch.nn.ReLU(),
    torch.float32,
]

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(),
    st.binary(), st.binary().map(memoryview), st.binary().map(bytearray),
    st.lists(st.integers(0, 255)), st.lists(st.text()), st.tuples(), st.sets(st.integers()),
    st.dictionaries(st.text(), st.one_of(st.none(), st.binary(), st.dictionaries(
        st.sampled_from(["content", "name", "metadata"]),
        st.one_of(st.none(), st.integers(), st.binary(), st.text(), st.dictionaries(
            st.text(), st.integers()))))),
    st.integers(0, len(ODD) - 1).map(ODD.__getitem__),
)  # fmt: skip


@settings(QUICK, max_examples=250)
@given(ANYTHING)
def test_anything_else_is_refused_as_an_image(source: Any) -> None:
    assert is_a_picture_or_refused(source) is None


@QUICK
@given(
    st.sampled_from(["size", "centre"]),
    st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans(), st.lists(st.none())),
)
def test_composite_takes_a_size_and_a_centre_or_refuses(name: str, value: Any) -> None:
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    try:
        made = viz.composite(picture, picture, **{name: value})
    except (ValueError, TypeError) as error:
        assert name in str(error)
    else:
        assert made.image.size[0] <= 20_000


# ------------------------------------------------------------ arguments

FLOATS = st.sampled_from([0.0, 0.5, -1.0, 1e38, -1e300, float("nan"), float("inf")])
TENSORS = st.builds(
    lambda shape, kind, value: torch.full(shape, value).to(kind),
    st.one_of(
        st.lists(st.integers(0, 4), max_size=5),
        st.sampled_from([[1, 3, 12, 12], [2, 3, 12, 12], [1, 1, 12, 12], [1, 3, 2, 2]]),
    ),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64,
                     torch.bool, torch.uint8, torch.complex64]),
    st.sampled_from([0.0, 1.0, -2.0, 1e4, float("nan"), float("inf")]),
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 8), FLOATS, st.text(), st.binary(),
    st.sampled_from(["0", "2", "conv", "gradcam", "\0", "a" * 3000, 2**70, -(10**30)]),
)  # fmt: skip
EMPTY: list[Any] = [[], (), {}, set(), range(0), "", b"", np.array([]), torch.tensor([])]
WRONG = st.one_of(
    SCALARS,
    TENSORS,
    arrays(),
    st.lists(SCALARS, max_size=4),
    st.lists(st.sampled_from([0, 0, 1, "0", "2"]), max_size=4),  # with duplicates
    st.lists(st.integers(-1, 20), max_size=5).map(tuple),
    st.dictionaries(st.text(max_size=3), SCALARS, max_size=2),
    st.integers(0, len(ODD) - 1).map(ODD.__getitem__),
    st.integers(0, len(EMPTY) - 1).map(EMPTY.__getitem__),
    st.sampled_from([torch.nn.ReLU, torch.tensor(1), np.int64(1), np.float32(1), np.bool_(True)]),
)
STACK = viz.ImageStack(np.arange(24.0).reshape(6, 2, 2), {"channel": range(6)})
NAMES = ["a", "b", "c", "d", "e"]
# Every public function that looks at a model or draws, with arguments that are right.
RIGHT: dict[str, tuple[Any, dict[str, Any]]] = {
    "capture": (viz.capture, {"layers": "0"}),
    "feature_maps": (viz.feature_maps, {"layer": "0", "channels": [0]}),
    "cam": (viz.cam, {"layer": "2", "target": 0, "method": "gradcam", "labels": NAMES}),
    "cam_sweep": (
        viz.cam_sweep,
        {"layers": ["0", "2"], "targets": [0, 1], "method": "gradcam", "labels": NAMES},
    ),
    "saliency": (
        viz.saliency,
        {"target": 1, "method": "smoothgrad", "of": "logit", "labels": NAMES, "passes": 2,
         "seed": 0},
    ),
    "predict": (viz.predict, {"k": 2, "labels": NAMES}),
    "prepare": (viz.prepare, {"image": "cat", "transform": lambda _: torch.zeros(3, 12, 12)}),
    "activation_maximization": (
        viz.activation_maximization,
        {"layer": "2", "channels": [0], "steps": 2, "size": 12, "lr": 1.0, "seed": 0,
         "keep": None, "mode": "pixels"},
    ),
    "kernels": (viz.kernels, {"layer": "0", "colour": False, "random_seed": None}),
    "class_index": (viz.class_index, {"target": 1, "labels": NAMES}),
    "module_tree": (viz.module_tree, {"depth": 2, "input_size": (1, 3, 12, 12)}),
    "summary": (
        viz.summary,
        {"input_size": (1, 3, 12, 12), "depth": 3, "col_names": ["num_params"], "col_width": 25},
    ),
    "get_layer": (viz.get_layer, {"name": "0"}),
    "layer_names": (viz.layer_names, {"kind": torch.nn.Conv2d}),
    "load_model": (viz.load_model, {"name": "alexnet", "weights": "nowhere.pth", "seed": 0}),
    "ImageStack": (
        viz.ImageStack,
        {"frames": np.zeros((2, 3, 3)), "axes": {"i": [0, 1]}, "titles": NAMES[:2],
         "scale": "sequential", "vmin": None, "vmax": None, "scale_group": "all", "base": None,
         "blend": 1.0, "name": "", "unit": "", "values": None},
    ),
    "ImageStack.select": (STACK.select, {"channel": 1}),
    "ImageStack.plot": (
        STACK.plot,
        {"limit": 6, "columns": None, "blend": None, "photograph": False, "width": 4.0},
    ),
}  # fmt: skip
WITHOUT_INPUT = ("prepare", "activation_maximization", "kernels", "class_index", "module_tree",
                 "summary", "get_layer", "layer_names")  # fmt: skip


def call(name: str, model: torch.nn.Module, **other: Any) -> Any:
    """Call a function with arguments that are right, but for those that are given."""
    function, right = RIGHT[name]
    given = {**right, **other}
    if name not in ("load_model", "ImageStack", "ImageStack.select", "ImageStack.plot"):
        given.setdefault("model", model)
        if name not in WITHOUT_INPUT:
            given.setdefault("sample", torch.ones(1, 3, 12, 12))
    return function(**given)


def arguments_of(name: str) -> list[str]:
    alone = name == "load_model" or name.startswith("ImageStack")
    more = [] if alone else ["model"] if name in WITHOUT_INPUT else ["model", "sample"]
    return [*more, *RIGHT[name][1]]


def state_of(model: torch.nn.Module) -> list[object]:
    """All that a call must not change, as values that compare."""
    found: list[object] = [bytes(torch.get_rng_state().numpy()), torch.is_grad_enabled()]
    for module in model.modules():
        hooks = [len(v) for k, v in vars(module).items() if k.endswith("_hooks")]
        found += [module.training, hooks]
    for parameter in model.parameters():
        found += [parameter.tolist(), parameter.requires_grad, parameter.grad]
    return found


def words_for(value: Any) -> list[str]:
    """What an error text may call a value, or one of the values in it."""
    entries = list(value.values()) if isinstance(value, dict) else []
    if isinstance(value, (list, tuple, set, range)):
        entries = list(value)
    words = [type(value).__name__, *(word for entry in entries for word in words_for(entry))]
    words += [str(tuple(getattr(value, "shape", ()))), str(getattr(value, "dtype", "Nothing"))]
    return [*words, repr(value)[:40], str(value)[:40]]


def names_what_was_given(text: str, argument: str, value: Any) -> bool:
    # Of a model it may say what it lacks: its layers, its scores, its card.
    about = {
        "model": ["layer", "scores", "Module"],
        "sample": ["input", "photograph"],
        "image": ["picture", "array"],
        "labels": ["class"],
        "input_size": ["shape"],
        "seed": ["nowhere.pth"],  # a right seed, and the file that is missing
    }
    known = [argument, argument.rstrip("s"), *about.get(argument, []), *words_for(value)]
    return any(word in text for word in known if word)


@pytest.mark.parametrize("name", RIGHT)
def test_arguments_that_are_right_are_taken(name: str, tiny: torch.nn.Module) -> None:
    """Else the next test would be passed by functions that refuse everything."""
    if name == "load_model":
        with pytest.raises(viz.WeightsUnavailable, match="nowhere"):
            call(name, tiny)
    else:
        assert call(name, tiny) is not None


@settings(QUICK, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("name", RIGHT)
def test_an_argument_that_is_wrong_is_handled_or_refused_by_its_name(
    name: str, tiny: torch.nn.Module, data: st.DataObject
) -> None:
    argument = data.draw(st.sampled_from(arguments_of(name)))
    value = data.draw(WRONG)
    if argument in ("steps", "passes") and isinstance(value, int) and value > 50:
        return  # a million steps are allowed, and can be stopped
    before = state_of(tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            call(name, tiny, **{argument: value})
        except (ValueError, TypeError) as error:
            told = str(error)
            assert names_what_was_given(told, argument, value), told
            assert len(told) < 4000
    assert state_of(tiny) == before


def test_the_judge_of_that_test_sees_a_changed_model_and_a_text_that_names_nothing(
    tiny: torch.nn.Module,
) -> None:
    before = state_of(tiny)
    tiny.train()
    assert state_of(tiny) != before
    tiny.eval()
    assert state_of(tiny) == before
    tiny[0].register_forward_hook(print)
    assert state_of(tiny) != before
    assert not names_what_was_given("list index out of range", "layer", "nowhere")
    assert not names_what_was_given("division by zero", "size", 0.25)
