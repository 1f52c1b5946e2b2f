"""ResNet-50: torchvision's names, shapes and numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from specvq_codec.models.resnet50 import FEATURE_DEPTH, ResNet50

CLASSIFIER = FEATURE_DEPTH * 1000 + 1000  # which the trunk leaves out


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = ResNet50().eval()
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)
    return model


def test_parameters_names_and_shapes(network):
    assert sum(parameter.numel() for parameter in network.parameters()) + CLASSIFIER == 25_557_032
    state = network.state_dict()
    assert len(state) == 318  # torchvision's 320 without fc
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer1.2.conv3.weight": (256, 64, 1, 1),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer2.3.bn2.running_mean": (128,),
        "layer3.5.conv1.weight": (256, 1024, 1, 1),
        "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "layer4.2.bn3.num_batches_tracked": (),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert not any(key.startswith(("layer1.1.downsample", "layer2.4", "layer3.6", "layer4.3")) for key in state)


def plain(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The network as its paper and torchvision's documentation describe it, from its tensors alone."""

    def conv(x: Tensor, conv: str, norm: str, stride: int = 1, padding: int = 0) -> Tensor:
        x = F.conv2d(x, state[f"{conv}.weight"], None, stride, padding)
        mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-5)

    x = F.max_pool2d(conv(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1  # at the 3 x 3 convolution (v1.5)
            y = conv(x, f"{name}.conv1", f"{name}.bn1").relu()
            y = conv(y, f"{name}.conv2", f"{name}.bn2", stride, 1).relu()
            y = conv(y, f"{name}.conv3", f"{name}.bn3")
            if block == 0:
                x = conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = (x + y).relu()
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


@torch.inference_mode()
def test_it_computes_what_a_plain_computation_does(network):
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    found, wanted = network(x), plain(x, network.state_dict())
    assert found.shape == (2, FEATURE_DEPTH)
    assert wanted.std() > 0.1 and torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max())
    assert torch.allclose(network(x[:1]), found[:1], rtol=1e-4, atol=1e-4 * wanted.abs().max())
