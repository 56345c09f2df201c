"""The loss on identity: its value by hand, its network frozen, its file counted by content, what it does."""

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_run import TINY, make_run

from augment.base.errors import AugmentError, UsageError
from augment.gan.dataset import load_pair_data
from augment.gan.identity import IdentityNetwork
from augment.gan.losses import identity_loss
from augment.gan.stage import train_gan
from augment.gan.trainer import Trainer
from augment.retrieval.networks import IMAGENET_DEVIATION, IMAGENET_MEAN, build_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A random OSNet in a file as the re-ID stage writes it."""
    torch.manual_seed(0)
    model = build_model("osnet_x0_25", 5, "softmax", False, CPU)
    path = tmp_path_factory.mktemp("identity") / "real-s0.safetensors"
    settings = {"model": "osnet_x0_25", "height": 64, "width": 32}
    safetensors.torch.save_file(model.state_dict(), path, {"origin": json.dumps({"reid": settings})})
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


def test_the_loss_is_one_less_the_cosine_layer_by_layer():
    real = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    fake = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    expected = (0 + 1 + 2 + (1 - math.sqrt(0.5))) / 4
    assert float(identity_loss([fake], [real])) == pytest.approx(expected)
    # as a map: one image, two channels, four places; and a layer that agrees halves the mean
    maps = [values.t()[None, :, :, None] for values in (fake, real)]
    assert float(identity_loss([maps[0], fake], [maps[1], fake])) == pytest.approx(expected / 2)


def test_the_network_sees_images_as_in_its_training(weights):
    network = IdentityNetwork(weights).train()
    pixels = torch.randint(0, 256, (2, 3, 64, 32), generator=torch.Generator().manual_seed(1)).float()
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    expected = network.network((pixels / 255 - mean) / deviation)
    *maps, features = network(pixels / 127.5 - 1)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    # OSNet x0.25 has 64, 96 and 128 channels after its three stages, the first two of which halve the map
    assert [tuple(values.shape) for values in maps] == [(2, 64, 8, 4), (2, 96, 4, 2), (2, 128, 4, 2)]
    assert not network.network.training and not any(weight.requires_grad for weight in network.parameters())


def test_a_training_obeys_it(run, weights):
    """With it alone in effect, generated images come nearer to their targets in the network's eyes."""
    section = TINY.model_copy(update={"identity_weights": weights, "identity_weight": 1e4, "batch_size": 4})
    trainer = Trainer(section, load_pair_data(section, *run, CPU), CPU)
    means = []
    for _ in range(2):
        for _ in range(12):
            trainer.step()
        means.append(trainer.read_losses("log")["generator_identity"])
    assert means[1] < 0.9 * means[0]


def test_its_file_counts_by_content(run, weights, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(weights).read_bytes())
    short = TINY.model_copy(update={"iterations": 1})
    digests = [
        train_gan(short.model_copy(update={"identity_weights": file}), *run, tmp_path / str(place)).provenance["digest"]
        for place, file in enumerate((None, weights, str(copy)))
    ]
    assert digests[0] != digests[1] == digests[2]


def test_other_files_are_refused(run, tmp_path):
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, other)
    with pytest.raises(AugmentError, match=r"gan.identity_weights=.*other.safetensors: not a network of the re-ID"):
        IdentityNetwork(other)
    missing = TINY.model_copy(update={"identity_weights": str(tmp_path / "none")})
    with pytest.raises(UsageError, match=r"gan.identity_weights=.*none: cannot be read"):
        train_gan(missing, *run, tmp_path / "gan")
