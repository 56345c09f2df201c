"""Presets of gan.fidelity: what ``modern`` changes, and that an unknown one is refused."""

from dataclasses import fields, replace

import pytest
import torch
from tiny_run import SIZE, TINY

from augment.base.errors import UsageError
from augment.config import GanConfig
from augment.gan.fidelity import MODERN, PRESETS, RELEASED, preset
from augment.gan.networks import box_filter, build_generator, count_parameters


def test_every_preset_of_the_config_exists():
    assert set(PRESETS) == set(GanConfig.model_fields["fidelity"].annotation.__args__)
    assert all(preset(name) is value and preset(value) is value for name, value in PRESETS.items())
    with pytest.raises(UsageError, match="papers: there is no such preset; there are paper, released, modern"):
        preset("papers")


def test_modern_differs_from_released_in_five_points():
    differing = {field.name for field in fields(MODERN) if getattr(MODERN, field.name) != getattr(RELEASED, field.name)}
    points = {
        "homogeneous_fit", "smoothed_upsampling", "logarithm_offset", "swapped_channel_means", "gradient_penalty",
    }  # fmt: skip
    assert differing == {"name"} | points


def test_the_box_filter_is_a_mean_of_four_and_kills_the_checkerboard():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    expected = [[(0 + 1 + 3 + 4) / 4, (1 + 2 + 4 + 5) / 4, (2 + 5) / 2], [3.5, 4.5, 5.0]]
    torch.testing.assert_close(box_filter(x), torch.tensor([[expected]]))
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(6), indexing="ij")
    checkerboard = ((rows + columns) % 2 * 2.0 - 1)[None, None]
    assert box_filter(checkerboard)[..., :-1, :-1].abs().max() == 0


def test_the_modern_generator_smooths_after_the_last_transposed_convolution_only():
    smoothed = replace(RELEASED, smoothed_upsampling=True)
    released, modern = (build_generator(TINY.model_copy(update={"fidelity": f}), SIZE) for f in (RELEASED, smoothed))
    assert count_parameters(released) == count_parameters(modern)
    modern.load_state_dict(released.state_dict())
    seen = {}
    for name, network in (("released", released), ("modern", modern)):
        for index, norm in enumerate(network.decoder.norms):
            norm.register_forward_pre_hook(lambda _, inputs, key=(name, index): seen.update({key: inputs[0]}))
        poses = torch.rand(2, 1, 18, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([SIZE[1], SIZE[0]])
        network(torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1, *poses)
    last = len(released.decoder.norms) - 1
    for index in range(last + 1):
        expected = seen["released", index]
        torch.testing.assert_close(seen["modern", index], box_filter(expected) if index == last else expected)


def test_features_follow_the_preset_where_they_are_not_given():
    assert GanConfig(fidelity="modern").features == "vgg19+rgb"
    assert GanConfig(fidelity="modern", system="percloss").features == "vgg19"
    assert GanConfig(fidelity="modern", features="patches").features == "patches"
    assert {GanConfig(fidelity=fidelity).features for fidelity in ("paper", "released")} == {"vgg19"}
