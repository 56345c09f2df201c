"""Beginning with another training's weights."""

import pytest
import torch

from augment.base.errors import AugmentError, UsageError
from augment.config import ArmConfig
from augment.reid.stage import compare_arms
from augment.retrieval.networks import build_model
from augment.retrieval.weights import load_weights, weights_digest

CPU = torch.device("cpu")


def network(people: int, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_model("osnet_x0_25", people, "softmax", False, CPU)


def test_all_but_a_classifier_of_other_people_is_taken(tmp_path):
    other, own = network(9, 1), network(6, 2)
    prefixed = {f"module.{name}": tensor for name, tensor in other.state_dict().items()}
    torch.save({"state_dict": prefixed}, tmp_path / "w.pt")
    before = own.classifier.weight.clone()
    load_weights(own, str(tmp_path / "w.pt"), "reid.start")
    assert torch.equal(own.classifier.weight, before)
    wanted, found = other.state_dict(), own.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in found if not name.startswith("classifier."))


@pytest.mark.parametrize(
    ("content", "message"),
    [({"a": torch.ones(1)}, "belongs to another network"), ([1], "not a file of weights"),
     (b"", "not a file of weights")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, content, message):
    file = tmp_path / "w.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(AugmentError, match=message):
        load_weights(network(6, 0), str(file), "reid.start")


def test_values_that_are_no_numbers_are_refused(tmp_path):
    bad = {name: tensor * torch.nan if tensor.is_floating_point() else tensor
           for name, tensor in network(6, 0).state_dict().items()}  # fmt: skip
    torch.save(bad, tmp_path / "w.pt")
    with pytest.raises(AugmentError, match="values that are not finite"):
        load_weights(network(6, 0), str(tmp_path / "w.pt"), "reid.start")


def test_the_start_counts_by_content(people, section, tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        torch.save(network(6, seed).state_dict(), tmp_path / f"{name}.pt")
    (tmp_path / "copy.pt").write_bytes((tmp_path / "one.pt").read_bytes())
    digests = {}
    for name in ("one", "copy", "two"):
        changes = {"arms": {"real": ArmConfig()}, "iterations": 2, "start": str(tmp_path / f"{name}.pt")}
        started = section.model_copy(update=changes)
        digests[name] = compare_arms(started, *people.tables(), tmp_path / name).provenance["digest"]
    assert digests["one"] == digests["copy"] != digests["two"]
    with pytest.raises(UsageError, match="cannot be read"):
        weights_digest(str(tmp_path / "nowhere.pt"), "reid.start")
