"""Weights and states: what comes back is what was saved, and what is not ours is refused in one sentence."""

import json

import pytest
import safetensors.torch
import torch
from tiny_run import SIZE, TINY

from augment.base.errors import AugmentError
from augment.base.state import save_state
from augment.gan.checkpoints import differing_keys, load_generator, load_own_state, read_header, save_weights
from augment.gan.networks import build_generator

CPU = torch.device("cpu")


def saved(path, config=TINY, header_config=None, size=SIZE):
    raw, average = build_generator(config, size), build_generator(config.model_copy(update={"seed": 5}), size)
    header = {"config": (header_config or config).identity(), "image_size": list(size), "iteration": 7}
    digest = save_weights(path, raw.state_dict(), average.state_dict(), header)
    return raw, average, digest


def test_raw_and_average_come_back(tmp_path):
    path = tmp_path / "weights.safetensors"
    raw, average, _ = saved(path)
    for name, original in (("raw", raw), ("average", average)):
        loaded, config = load_generator(path, weights=name)
        assert config.identity() == TINY.identity()
        assert loaded.image_size == SIZE
        assert not loaded.training
        assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in original.state_dict().items())
    assert read_header(path)["iteration"] == 7


def test_the_same_weights_give_the_same_bytes(tmp_path):
    digests = {saved(tmp_path / f"{number}.safetensors")[2] for number in range(3)}
    assert len(digests) == 1


def test_another_architecture_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    saved(path, TINY, TINY.model_copy(update={"width": 0.125}))
    with pytest.raises(AugmentError, match=r"weights.safetensors: its tensors are not those .* another architecture"):
        load_generator(path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x10\0\0\0\0\0\0\0{\"truncated"])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(AugmentError, match=r"weights.safetensors: not a safetensors file, or damaged"):
        load_generator(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AugmentError, match=r"weights.safetensors: .*damaged"):
        load_generator(path)


def test_another_programs_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(AugmentError, match="none that this program wrote"):
        load_generator(path)
    with pytest.raises(AugmentError, match="no such weights file"):
        load_generator(tmp_path / "absent.safetensors")


def test_a_header_of_an_unknown_version_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    header = {"config": {**TINY.identity(), "unheard_of": 1}, "image_size": list(SIZE)}
    save_weights(path, build_generator(TINY, SIZE).state_dict(), build_generator(TINY, SIZE).state_dict(), header)
    with pytest.raises(AugmentError, match="header does not fit this version"):
        load_generator(path)


def test_a_state_of_another_configuration_is_refused_with_the_keys(tmp_path):
    path = tmp_path / "state-000002.pt"
    save_state(path, {"identity": json.dumps({"gan": {"width": 1.0, "seed": 0}, "inputs": {"poses": "a"}})})
    wanted = {"gan": {"width": 0.5, "seed": 0}, "inputs": {"poses": "b"}}
    with pytest.raises(AugmentError, match=r"gan.width is 1.0 there, 0.5 here; inputs.poses is 'a' there, 'b' here"):
        load_own_state(path, wanted, CPU)


def test_a_damaged_state_is_refused(tmp_path):
    path = tmp_path / "state-000002.pt"
    path.write_bytes(b"PK\3\4 half a file")
    with pytest.raises(AugmentError, match=r"state-000002.pt: not a training state, or damaged"):
        load_own_state(path, {}, CPU)
    with pytest.raises(AugmentError, match="no such training state"):
        load_own_state(tmp_path / "absent.pt", {}, CPU)


def test_a_state_runs_no_code(tmp_path):
    path = tmp_path / "state-000002.pt"
    torch.save({"identity": "{}", "trainer": build_generator(TINY, SIZE)}, path)  # a pickled module
    with pytest.raises(AugmentError, match="not a training state"):
        load_own_state(path, {}, CPU)


def test_differing_keys_go_deep_and_both_ways():
    assert differing_keys({"a": {"b": 1}, "c": 2}, {"a": {"b": 1}, "d": 3}) == [
        "c is 2 there, None here",
        "d is None there, 3 here",
    ]
