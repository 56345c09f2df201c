"""Sizes of the networks counted by hand, the layers' arithmetic, and what the four systems have in common."""

import copy
import itertools
from functools import partial

import pytest
import torch
from tiny_run import SIZE, STANDING, TINY
from torch.nn import functional

from augment.base.errors import UsageError
from augment.config import GanConfig
from augment.gan.kernels import gather, layers
from augment.gan.kernels.layers import DoublingConvolution, HalvingConvolution, SampleNorm
from augment.gan.networks import (
    Discriminator,
    build_discriminator,
    build_generator,
    channels_of,
    count_parameters,
)
from augment.gan.skeletons import Region, Skeleton

SYSTEMS = ("baseline", "dsc", "percloss", "full")


def encoder_size(inputs, channels, norm, first_bias, ends_normed):
    """Weights of 3x3 and 4x4 convolutions, the first one's biases, and ``norm(c)`` numbers a normalised layer."""
    total = inputs * channels[0] * 9 + (channels[0] if first_bias else 0)
    total += sum(a * b * 16 for a, b in itertools.pairwise(channels))
    return total + sum(norm(c) for c in (channels if ends_normed else channels[1:-1]))


def decoder_size(skips, channels, norm):
    outputs = channels[:0:-1]  # of the transposed convolutions, deepest first
    inputs = [skips[-1], *(out + skip for out, skip in zip(outputs[:-1], skips[-2:0:-1], strict=True))]
    total = sum(a * b * 16 + norm(b) for a, b in zip(inputs, outputs, strict=True))
    return total + (outputs[-1] + skips[0]) * 3 * 9 + 3


@pytest.mark.parametrize(
    ("size", "expected"), [((128, 64), 61_109_085), ((256, 256), 82_080_611)], ids=["Market-1501", "DeepFashion"]
)
def test_released_sizes_are_the_published_ones(size, expected):
    config = GanConfig(fidelity="released")
    with torch.device("meta"):  # shapes are enough to count
        assert count_parameters(build_generator(config, size)) == expected
        assert count_parameters(build_discriminator(config, size)) == 2_803_782


@pytest.mark.parametrize("fidelity", ["paper", "released", "modern"])
@pytest.mark.parametrize("system", ["baseline", "full"])
@pytest.mark.parametrize("size", [(128, 64), (256, 256)])
def test_generator_size_follows_from_the_layers(fidelity, system, size):
    channels = [64, 128, 256, 512, 512, 512] + ([512] if size[0] == 256 else [])
    released = fidelity != "paper"
    norm = (lambda c: 2) if released else (lambda c: 2 * c)

    def encoder(inputs):
        return encoder_size(inputs, channels, norm, first_bias=released, ends_normed=not released)

    if system == "baseline":
        expected = encoder(3 + 18 + 18) + decoder_size(channels, channels, norm)
    else:
        expected = encoder(3 + 18) + encoder(18) + decoder_size([2 * c for c in channels], channels, norm)
    with torch.device("meta"):
        assert count_parameters(build_generator(GanConfig(fidelity=fidelity, system=system), size)) == expected


def test_paper_sizes():
    """What docs/fidelity.md states for the preset ``paper``."""
    with torch.device("meta"):
        config = GanConfig(fidelity="paper")
        assert count_parameters(build_generator(config)) == 61_120_707
        assert count_parameters(build_generator(config, (256, 256))) == 82_095_299
        assert count_parameters(build_discriminator(config)) == 42 * 64 * 16 + 64 + sum(
            a * b * 16 + b for a, b in [(64, 128), (128, 256), (256, 512), (512, 1)]
        )


def test_channels_grow_to_512_and_scale_with_width():
    assert channels_of((128, 64), 1.0) == [64, 128, 256, 512, 512, 512]
    assert channels_of((256, 256), 1.0) == [64, 128, 256, 512, 512, 512, 512]
    assert channels_of((128, 64), 0.25) == [16, 32, 64, 128, 128, 128]


@pytest.mark.parametrize("size", [(160, 60), (128, 32), (8, 4), (100, 50)])
def test_images_that_cannot_be_halved_are_refused(size):
    with pytest.raises(UsageError, match=rf"images of {size[0]}x{size[1]} do not fit the generator: .*gan.image_size"):
        build_generator(GanConfig(width=0.1), size)


def test_sample_norm_is_one_mean_and_deviation_for_all_of_a_sample():
    x = torch.randn(3, 5, 4, 2, dtype=torch.float64)
    norm = SampleNorm().double()
    with torch.no_grad():
        norm.weight.fill_(1.5)
        norm.bias.fill_(-0.25)
    expected = torch.stack([(sample - sample.mean()) / (sample.std(correction=0) + 1e-3) * 1.5 - 0.25 for sample in x])
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", [layers._SampleNorm, layers._FusedSampleNorm])
def test_sample_norm_gradient(form):
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.5, -0.25))
    assert torch.autograd.gradcheck(lambda *inputs: form.apply(*inputs, 1e-3), (x, weight, bias))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sample_norm_by_fused_kernels_is_the_one_by_its_definition(memory, dtype):
    results = []
    for form, wide in ((layers._SampleNorm, torch.float64), (layers._FusedSampleNorm, dtype)):
        torch.manual_seed(0)
        x, slope = (
            values.to(dtype).to(wide).to(memory_format=memory)
            for values in (0.02 * torch.randn(3, 8, 6, 4) + 0.05, torch.randn(3, 8, 6, 4))
        )
        inputs = [tensor.requires_grad_() for tensor in (x, torch.tensor(1.5), torch.tensor(-0.25))]
        y = form.apply(*inputs, 1e-3)
        results.append([y.detach(), *torch.autograd.grad(y, inputs, slope)])
    step = torch.finfo(dtype).eps
    for expected, found in zip(*results, strict=True):
        assert found.dtype in (dtype, torch.float32)
        assert (found.double() - expected.double()).abs().max() <= 8 * step * expected.abs().max()


def test_sample_norm_of_a_constant_is_its_shift():
    norm = SampleNorm()
    x = torch.full((1, 2, 3, 4), 7.0, requires_grad=True)
    norm(x).sum().backward()
    # 7 / eps = 7,000 and as much again are subtracted from each other in float32.
    assert norm(x).abs().max() <= 7000 * 2**-23
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("layer", [HalvingConvolution(6, 5, bias=False), DoublingConvolution(6, 5)])
@pytest.mark.parametrize("size", [(2, 2), (4, 2), (7, 3), (8, 4), (6, 10)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_convolutions_as_matrix_products_are_convolutions(layer, size, memory):
    layer = copy.deepcopy(layer).double().to(memory_format=memory)
    x = torch.randn(3, 6, *size, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    plain = functional.conv2d if isinstance(layer, HalvingConvolution) else functional.conv_transpose2d
    expected = plain(x, layer.weight, stride=2, padding=1)
    weights = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((weights * made).sum(), (x, layer.weight), retain_graph=True)
        for made in (expected, layer(x))
    ]
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("layer", [HalvingConvolution(48, 40, bias=False), DoublingConvolution(48, 40)])
@pytest.mark.parametrize("size", [(2, 2), (15, 5), (8, 12)])
def test_in_bf16_matrix_products_are_as_near_to_convolutions_as_bf16_is(layer, size, monkeypatch):
    layer = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    x = torch.randn(1, 48, *size, requires_grad=True)
    plain = functional.conv2d if isinstance(layer, HalvingConvolution) else functional.conv_transpose2d
    expected = plain(x, layer.weight, stride=2, padding=1)
    weights = torch.randn_like(expected)
    exact = torch.autograd.grad((weights * expected).sum(), (x, layer.weight))
    monkeypatch.setattr(functional, "conv2d", None)  # so that nothing but a product can have made it
    monkeypatch.setattr(functional, "conv_transpose2d", None)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    found_gradients = torch.autograd.grad((weights * found).sum(), (x, layer.weight))
    for value, reference in ((found, expected), *zip(found_gradients, exact, strict=True)):
        assert value.shape == reference.shape and value.isfinite().all()
        # Inputs, sums and what is added up of them are each rounded to 8 bits: 2^-9 relative, some of them together.
        assert (value.float() - reference).norm() <= 2**-7 * reference.norm()


def inputs(count=2, size=SIZE):
    generator = torch.Generator().manual_seed(3)
    joints = torch.tensor(STANDING, dtype=torch.float32).repeat(count, 1, 1) * size[0]
    source = torch.rand((count, 3, *size), generator=generator) * 2 - 1
    return source, joints, joints + torch.randn(joints.shape, generator=generator)


@pytest.mark.parametrize("fidelity", ["paper", "released", "modern"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_draws_an_image(system, fidelity):
    generator = build_generator(TINY.model_copy(update={"system": system, "fidelity": fidelity}), SIZE)
    source, source_joints, target_joints = inputs()
    image = generator(source, source_joints, target_joints)
    assert image.shape == (2, 3, *SIZE)
    assert image.abs().max() <= 1
    image.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in generator.parameters())


@pytest.mark.parametrize("fidelity", ["paper", "released", "modern"])
def test_missing_joints_give_numbers(fidelity):
    generator = build_generator(TINY.model_copy(update={"fidelity": fidelity}), SIZE)
    source, source_joints, target_joints = inputs()
    source_joints[0], target_joints[1] = torch.nan, torch.nan
    assert generator(source, source_joints, target_joints).isfinite().all()


def test_samples_of_a_batch_do_not_touch_each_other():
    generator = build_generator(TINY, SIZE)
    both = inputs()
    together = generator(*both)
    alone = generator(*(tensor[1:] for tensor in both))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_released_discriminator_gives_three_patches_and_paper_one_number():
    source, source_joints, target_joints = inputs(1, (128, 64))
    shapes = {}
    for fidelity in ("released", "paper"):
        discriminator = build_discriminator(GanConfig(width=1 / 16, fidelity=fidelity))
        shapes[fidelity] = tuple(discriminator(source, source_joints, source, target_joints).shape)
    assert shapes == {"released": (1, 1, 3, 1), "paper": (1, 1, 1, 1)}


def test_noise_is_dropout_of_half_in_the_512_layers():
    with torch.device("meta"):
        generator = build_generator(GanConfig(), (128, 64))
    assert generator.noise_shapes == [(512, 8, 4), (512, 16, 8), (512, 32, 16)]
    noise = build_generator(TINY, (128, 64)).sample_noise(4, torch.Generator().manual_seed(0))
    assert all(set(layer.unique().tolist()) == {0.0, 2.0} for layer in noise)
    assert abs(float(torch.cat([layer.flatten() for layer in noise]).mean()) - 1) < 0.02


def test_noise_changes_the_image_and_its_absence_is_deterministic():
    generator = build_generator(TINY, SIZE)
    noise = generator.sample_noise(2, torch.Generator().manual_seed(0))
    plain = generator(*inputs())
    assert torch.equal(plain, generator(*inputs()))
    assert not torch.equal(plain, generator(*inputs(), noise))


def test_mixed_precision_stays_narrow_inside_and_its_images_are_wide():
    """Noise must not widen what follows it, and bf16's steps must not show in the image."""
    generator = build_generator(TINY, SIZE)
    noise = generator.sample_noise(2, torch.Generator().manual_seed(0))
    seen = []
    for layer in [*generator.decoder.convolutions, generator.decoder.to_image]:
        layer.register_forward_hook(lambda _, given, made: seen.append((given[0].dtype, made.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        image = generator(*inputs(), noise)
    assert noise and set(seen) == {(torch.bfloat16, torch.bfloat16)}
    assert image.dtype == torch.float32
    assert not torch.equal(image, image.bfloat16().float())


@pytest.mark.slow
@pytest.mark.parametrize("system", ["baseline", "full"])
def test_both_networks_can_be_traced_whole(system, monkeypatch):
    """As they are on a GPU, where nothing may depend on values: one graph each, with the same images and gradients."""
    monkeypatch.setattr(gather, "plans_are_tables", lambda device: True)
    monkeypatch.setattr(layers, "_FEW", 0)
    torch.compiler.reset()
    config = TINY.model_copy(update={"system": system})
    generator, discriminator = build_generator(config, SIZE), build_discriminator(config, SIZE)
    parameters = [*generator.parameters(), *discriminator.parameters()]
    source, source_joints, target_joints = inputs()
    noise = generator.sample_noise(2, torch.Generator().manual_seed(0))
    results = []
    for way in (lambda network: network, partial(torch.compile, fullgraph=True, dynamic=False, backend="aot_eager")):
        generate, discriminate = way(generator), way(discriminator)
        image = generate(source, source_joints, target_joints, noise)
        logits = discriminate(source, source_joints, image, target_joints)
        loss = functional.softplus(-logits).mean() + image.square().mean()
        results.append((image.detach(), logits.detach(), *torch.autograd.grad(loss, parameters)))
    for plain, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, plain)


def test_weights_depend_on_the_seed_only():
    torch.manual_seed(1)
    first = build_generator(TINY, SIZE).state_dict()
    torch.manual_seed(2)
    again = build_generator(TINY, SIZE).state_dict()
    other = build_generator(TINY.model_copy(update={"seed": 1}), SIZE).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_initialisation_is_glorot_uniform():
    weight = build_generator(GanConfig(width=0.25)).pose_stream.convolutions[1].weight
    limit = (6 / (16 * (16 + 32))) ** 0.5  # 4x4 kernels, 16 -> 32 channels
    assert limit * 0.98 < weight.abs().max() <= limit


def test_a_made_up_animal_can_be_trained_on():
    joints = ("snout", "shoulder", "rump", "belly", "paw", "tail")
    animal = Skeleton(
        joints,
        regions=(
            Region("trunk", "core", (1, 2, 3)),
            Region("head", "cluster", (0,), anchors=(1, 3)),
            Region("leg", "limb", (3, 4), outer=True),
            Region("tail", "limb", (2, 5)),
        ),
        sides=((1, 2), (1, 3)),
        diagonals=((2, 3),),
    )
    generator, discriminator = build_generator(TINY, SIZE, animal), build_discriminator(TINY, SIZE, animal)
    optimizer = torch.optim.Adam([*generator.parameters(), *discriminator.parameters()], 1e-3)
    pose = torch.tensor([[3.0, 8], [5, 10], [11, 10], [8, 15], [8, 22], [14, 6]])
    poses = torch.stack([pose, pose + 1])
    source = torch.rand(2, 3, *SIZE) * 2 - 1
    losses = []
    for _ in range(2):
        generated = generator(source, poses, poses.flip(0))
        logits = discriminator(source, poses, generated, poses.flip(0))
        loss = functional.l1_loss(generated, source.flip(0)) + functional.softplus(-logits).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert isinstance(discriminator, Discriminator)
