import pytest
import torch

from augment.gan.kernels.adam import ChannelsLastAdam

SHAPES = [(6, 5, 4, 4), (3, 8, 3, 3), (7, 1, 2, 2), (4, 4, 1, 1), (9,), ()]
PLAIN, LAST = torch.contiguous_format, torch.channels_last


def trained(optimizer, fused, weights, gradients, resumed=False):
    torch.manual_seed(0)
    parameters = []
    for shape in SHAPES:
        values = torch.randn(shape)
        parameters.append(torch.nn.Parameter(values.to(memory_format=weights) if len(shape) == 4 else values))
    adam = optimizer(parameters, lr=0.1, betas=(0.5, 0.999), fused=fused)
    for step in range(4):
        if resumed and step == 2:
            state, adam = adam.state_dict(), optimizer(parameters, lr=0.1, betas=(0.5, 0.999), fused=fused)
            adam.load_state_dict(state)
        for parameter in parameters:
            slope = torch.randn(parameter.shape)
            parameter.grad = slope.to(memory_format=gradients) if slope.dim() == 4 else slope
        adam.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("weights, gradients", [(PLAIN, PLAIN), (LAST, LAST), (LAST, PLAIN)])
def test_it_is_adam_whatever_the_layout_of_weights_and_gradients(weights, gradients):
    found = trained(ChannelsLastAdam, True, weights, gradients)
    for value, expected in zip(found, trained(torch.optim.Adam, False, weights, gradients), strict=True):
        torch.testing.assert_close(value, expected)


def test_resumed_it_goes_on_with_the_same_bits():
    whole, parts = (trained(ChannelsLastAdam, True, LAST, LAST, resumed) for resumed in (False, True))
    assert all(map(torch.equal, whole, parts))
