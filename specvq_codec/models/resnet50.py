"""ResNet-50 without its classifier: what the reference's samplers see of a video's pictures.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), in the variant of torchvision (v1.5: the 3 x 3
convolution of a block has its stride). Module names are torchvision's, so that its weights load as they are.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

FEATURE_DEPTH = 2048
_BLOCKS = (3, 4, 6, 3)  # in each stage
_WIDTHS = (64, 128, 256, 512)  # of each stage's 3 x 3 convolutions
_EXPANSION = 4  # a block's output is so many times as wide


class ResNet50(nn.Module):
    """Pictures (B, 3, H, W), standardised as ImageNet's -> features (B, 2048): averages over the last stage's map.

    H and W are 224 for what the weights were trained on; any size works.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_width = 64
        for number, (blocks, width) in enumerate(zip(_BLOCKS, _WIDTHS, strict=True), start=1):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if block == 0 and number > 1 else 1
                stage.append(Bottleneck(in_width, width, stride))
                in_width = width * _EXPANSION
            self.add_module(f"layer{number}", stage)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))  # (B, 64, H / 4, W / 4)
        for number in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3))  # (B, 2048, H / 32, W / 32) -> (B, 2048)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut: (B, C, H, W) -> (B, 4 width, H / stride, W / stride)."""

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        out_width = width * _EXPANSION
        self.conv1 = nn.Conv2d(in_width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_width)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or in_width != out_width:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_width, out_width, 1, stride=stride, bias=False), nn.BatchNorm2d(out_width)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)
