"""A widened generator makes the images of the narrow one, and its copies differ."""

import pytest
import torch
from tiny_run import SIZE, STANDING, TINY, make_run

from augment.gan.checkpoints import load_generator
from augment.gan.networks import build_generator
from augment.gan.stage import train_gan
from augment.gan.widening import channel_copies, widen


def trained(**settings):
    """A generator whose parameters all have values of their own, as after a training."""
    generator = build_generator(TINY.model_copy(update=settings), SIZE).eval()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return generator


def inputs():
    random = torch.Generator().manual_seed(6)
    joints = torch.tensor(STANDING, dtype=torch.float32) * SIZE[0]
    return torch.rand(2, 3, *SIZE, generator=random) * 2 - 1, joints.expand(2, -1, -1), (joints + 2).expand(2, -1, -1)


@pytest.mark.parametrize(("narrow", "wide", "copies"), [
    (0.25, 0.5, 2), (0.25, 1, 4), (0.25, 0.75, 3), (0.25, 0.25, 1), (0.5, 0.25, None), (0.25, 0.4, None),
    (1 / 32, 1 / 16, None),  # 64 channels at width 1 are 4 at both, as none has fewer, but 128 are 4 and 8
])  # fmt: skip
def test_widths_are_multiples_in_every_layer(narrow, wide, copies):
    assert channel_copies(narrow, wide) == copies


@pytest.mark.parametrize("fidelity", ["paper", "released", "modern"])
@pytest.mark.parametrize("system", ["baseline", "full"])
@pytest.mark.parametrize("copies", [2, 3])
def test_the_images_are_the_same(fidelity, system, copies):
    narrow = trained(fidelity=fidelity, system=system)
    wide = widen(narrow, TINY.model_copy(update={"fidelity": fidelity, "system": system, "width": copies / 16}), 0.0)
    with torch.no_grad():
        expected, found = (generator.double()(*(tensor.double() for tensor in inputs()))
                           for generator in (narrow, wide.eval()))  # fmt: skip
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # a third of a weight is rounded to float32


def test_noise_parts_the_copies_around_their_mean():
    narrow = trained()
    wide = widen(narrow, TINY.model_copy(update={"width": 3 / 16}), 0.2)
    layer, wider = narrow.source_stream.convolutions[1].weight, wide.source_stream.convolutions[1].weight
    blocks = wider.unflatten(0, (3, -1)).unflatten(2, (3, -1)).sum(2)  # summed over the copies that are read
    torch.testing.assert_close(blocks.mean(0), layer)
    assert ((blocks - layer).std(dim=0) > 0).all()
    again = widen(narrow, TINY.model_copy(update={"width": 3 / 16}), 0.2)
    assert all(torch.equal(a, b) for a, b in zip(wide.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_training_wider_than_its_start_begins_with_its_images(tmp_path):
    tables = make_run(tmp_path)
    train_gan(TINY.model_copy(update={"iterations": 2}), *tables, tmp_path / "gan")
    wider = TINY.model_copy(update={"iterations": 1, "width": 1 / 8, "start": str(tmp_path), "learning_rate": 1e-9})
    manifest = train_gan(wider, *tables, tmp_path / "wide")
    row = manifest.frame().set_index("id").loc["gan/last"]
    wide, config = load_generator(manifest.file_of(row["path"]))
    narrow, _ = load_generator(tmp_path / "gan" / "weights-000002.safetensors")
    assert config.width == 1 / 8 and row["parent"] == manifest.provenance["inputs"]["start"]
    with torch.no_grad():
        expected, found = narrow(*inputs()), wide(*inputs())
    assert (found - expected).abs().mean() < 0.05 * expected.std()
