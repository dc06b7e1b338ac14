import pytest
import torch

from vizhelpers.inputs.global_state import drawn_on_cpu


def test_the_cpus_random_state_is_restored_even_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError), drawn_on_cpu(3):
        torch.rand(2)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_the_numbers_are_those_of_manual_seed() -> None:
    with drawn_on_cpu(3):
        drawn = torch.rand(5)
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(3)))


def test_no_accelerator_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with drawn_on_cpu():
        torch.manual_seed(1)
    assert seeded == [1]  # so this test would see it
    with drawn_on_cpu(3):
        torch.rand(1)
    assert seeded == [1]


def test_tensors_are_made_on_the_cpu_under_another_default_device() -> None:
    with torch.device("meta"), drawn_on_cpu(0):
        assert torch.nn.Linear(2, 2).weight.device.type == "cpu"
