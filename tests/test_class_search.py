"""The search of a class by words or index, in the panels of classes."""

import pytest
from torch import nn

from vizhelpers.explore.classes import typed_class, unique_names
from vizhelpers.inputs.errors import nearest

CLASSES = ["crate", "oxcart", "castle", "tiger cat", "Persian cat", "golden retriever"]
TWICE = [*CLASSES, "crane", "crane", "Cardigan", "cardigan"]


@pytest.mark.parametrize(
    ("typed", "index"),
    [
        ("golden", 5),
        ("GOLDEN Retriever", 5),
        (" tiger ", 3),
        ("4", 4),
        ("Persian cat (4)", 4),
        ("6", 6),
        ("crane (7)", 7),
        ("Cardigan (8)", 8),
    ],
)
def test_a_class_is_found_by_a_word_or_its_index(typed: str, index: int) -> None:
    assert typed_class(nn.Identity(), typed, TWICE) == index


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("cat", r"2 class names contain 'cat': tiger cat \(3\), Persian cat \(4\)\."),
        ("crane", r"2 classes are called 'crane': crane \(6\), crane \(7\)\. Type the index"),
        ("CARDIGAN", r"Cardigan \(8\), cardigan \(9\)\. Type the index"),
        ("cats", "Did you mean 'tiger cat' or 'Persian cat'"),
        ("retriev", "Did you mean 'golden retriever'"),
    ],
)
def test_a_class_that_is_not_found_is_told_with_what_there_is(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        typed_class(nn.Identity(), typed, TWICE)


def test_the_search_offers_every_class_of_a_shared_name() -> None:
    offered = unique_names(nn.Identity(), TWICE)
    assert offered[6:] == ("crane (6)", "crane (7)", "Cardigan (8)", "cardigan (9)")
    assert [typed_class(nn.Identity(), name, TWICE) for name in offered] == list(range(10))


def test_labels_that_are_numbers_are_names_before_they_are_indices() -> None:
    assert typed_class(nn.Identity(), "0", ["7", "0"]) == 1


def test_the_nearest_names_hold_the_word_then_its_beginning_then_its_spelling() -> None:
    assert nearest("cat", CLASSES) == ["tiger cat", "Persian cat"]
    assert nearest("RETRIEV", CLASSES) == ["golden retriever"]
    assert nearest("cats", CLASSES) == ["tiger cat", "Persian cat"]
    assert nearest("oxcar", CLASSES) == ["oxcart"]
    assert nearest("features.111", ["features.1", "features.11"])[0] == "features.11"
    assert nearest("(", CLASSES) == []
