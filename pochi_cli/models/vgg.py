"""A compact VGG for small images."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = ((64,), (128,), (256,), (512, 512, 512))
"""Channels of the convolutions before each pooling."""
_GRID = (2, 2)
"""What four poolings leave of 32 x 32 pixels."""


class CompactVGG(nn.Module):
    """VGG (Simonyan and Zisserman, arXiv:1409.1556) with batch norm, cut down for images of 32 x 32 pixels.

    Six 3x3 convolutions without bias, each with batch norm and ReLU, in four stages that end in max-pooling;
    then one hidden layer of 1,024, likewise, and the head. Parameters start as torch's layers draw them.

    Other sizes from 16 x 16 on are pooled to the 2 x 2 cells that 32 x 32 pixels leave.

    Args:
        num_classes: Rows of the head.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in _STAGES:
            for width in stage:
                conv = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(kernel_size=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_GRID)
        self.classifier = nn.Sequential(
            nn.Linear(channels * _GRID[0] * _GRID[1], 1024, bias=False),
            nn.BatchNorm1d(1024),
            nn.ReLU(inplace=True),
            nn.Linear(1024, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: (batch, 3, height, width), from 16 x 16 on.

        Returns:
            Logits, (batch, num_classes).
        """
        cells: Tensor = self.features(images)
        # Pooling 2 x 2 cells to 2 x 2 would change nothing, and has no deterministic backward pass on a GPU.
        if cells.shape[-2:] != _GRID:
            cells = self.avgpool(cells)
        logits: Tensor = self.classifier(cells.flatten(1))
        return logits
