"""A generator is run on batches of one size: an image does not depend on the company it is generated in."""

import numpy as np
import pytest
import torch
from tiny_run import SIZE, TINY

from augment.base.errors import AugmentError
from augment.gan.checkpoints import save_weights
from augment.gan.dataset import to_network, to_uint8
from augment.gan.inference import BatchedGenerator, last_weights
from augment.gan.networks import build_generator
from augment.manifest import write_manifest

CPU = torch.device("cpu")
N = 7


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    state = build_generator(TINY, SIZE).state_dict()
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    header = {"config": TINY.identity(), "image_size": list(SIZE), "system": TINY.system, "iteration": 1}
    save_weights(path, state, {name: tensor.clone() for name, tensor in state.items()}, header)
    return path


@pytest.fixture(scope="module")
def inputs():
    random = torch.Generator().manual_seed(1)
    source = torch.randint(0, 256, (N, *SIZE, 3), dtype=torch.uint8, generator=random)
    joints = torch.rand(2, N, 18, 2, generator=random) * torch.tensor([SIZE[1], SIZE[0]])
    return source, *joints


def test_images_are_those_of_the_network_alone_in_order(weights, inputs):
    generator = BatchedGenerator.load(weights, CPU, 3)
    assert (generator.image_size, generator.config.width) == (SIZE, TINY.width)
    found = generator.generate(*inputs)
    assert found.shape == (N, *SIZE, 3) and found.dtype == np.uint8
    network = generator._network
    for number in range(N):
        source, *joints = (tensor[number : number + 1].expand(3, *tensor.shape[1:]) for tensor in inputs)
        with torch.inference_mode():
            alone = to_uint8(network(to_network(source), *joints))[0]
        np.testing.assert_array_equal(found[number], alone)


def test_every_batch_is_full_and_only_what_was_asked_for_comes_back(weights, inputs):
    generator, asked = BatchedGenerator.load(weights, CPU, 3), []

    def gather(index):
        asked.append(index.tolist())
        return tuple(tensor[index] for tensor in inputs)

    assert [len(batch) for batch in generator.batches(N, gather)] == [3, 3, 1]
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert list(generator.batches(0, gather)) == [] and len(asked) == 3


def test_another_size_is_refused_by_name(weights):
    height, width = SIZE
    with pytest.raises(AugmentError, match=rf"w\.safetensors: generates images of {height}x{width}, not of 64x64"):
        BatchedGenerator.load(weights, CPU, size=(64, 64))


def test_the_last_weights_of_a_table(tmp_path):
    def rows(*roles):
        return [{"id": f"gan/{role}", "path": f"{role}.safetensors", "sha256": role, "status": "ok", "reason": None,
                 "role": role, "iteration": 1, "system": "full", "config_digest": "", "losses": "{}", "parent": None}
                for role in roles]  # fmt: skip

    table = write_manifest(tmp_path / "a.parquet", "checkpoints", rows("best", "last"), {"digest": ""})
    assert last_weights(table) == (tmp_path / "last.safetensors", "last")
    with pytest.raises(AugmentError, match="holds no finished generator"):
        last_weights(write_manifest(tmp_path / "b.parquet", "checkpoints", rows("best"), {"digest": ""}))
