"""What else one could write: torchvision's transforms, crops by masks, a plain training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from gradloop.networks.resnet9 import ResNet9

MEAN, STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]


class Cutout(nn.Module):
    """A square of a quarter of the edge is blanked in every second picture."""

    def forward(self, picture: Tensor) -> Tensor:
        if torch.rand(()) < 0.5:
            height, width = picture.shape[-2:]
            side = min(height, width) // 4
            top, left = (int(torch.randint(edge - side + 1, ())) for edge in (height, width))
            picture[..., top : top + side, left : left + side] = 0
        return picture


class Pictures(Dataset):
    """Arrays handed out as PIL pictures, as torchvision's CIFAR10 does."""

    def __init__(self, pictures: Tensor, labels: Tensor, transform: nn.Module) -> None:
        self.arrays = pictures.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[row])), self.labels[row]


def _to_tensor() -> list[nn.Module]:
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def _loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    return DataLoader(
        dataset, batch_size=batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def torchvision_crops(pictures: Tensor, labels: Tensor, *, batch_size: int, workers: int) -> DataLoader:
    """Crop, flip, normalise and Cutout, picture by picture."""
    transform = v2.Compose(
        [v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip(), *_to_tensor(), Cutout()]
    )
    return _loader(Pictures(pictures, labels, transform), batch_size, workers)


def torchvision_folder(root: Path, *, size: int, batch_size: int, cutout: bool, workers: int) -> DataLoader:
    """The tutorial's pipelines: decode, resize, normalise, Cutout, picture by picture, in every epoch."""
    transform = v2.Compose([v2.Resize((size, size)), *_to_tensor(), *([Cutout()] if cutout else [])])
    return _loader(ImageFolder(str(root), transform), batch_size, workers)


def masked_batches(
    pictures: Tensor, labels: Tensor, *, mean: Sequence[float], std: Sequence[float], batch_size: int
) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """Whole batches, with a mask for each possible shift: first down, then right.

    The pictures are normalised floats, padded once before, so that an epoch does nothing but shift, mirror and blank.
    """
    scale, shift = (torch.tensor(values)[:, None, None] for values in (std, mean))
    padded = torch.cat(
        [
            functional.pad((chunk / 255 - shift) / scale, (4, 4, 4, 4), mode="reflect")
            for chunk in pictures.split(1000)
        ]
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(padded))
        for rows in order.split(batch_size):
            count = len(rows)
            batch = padded[rows]
            down, right = torch.randint(9, (2, count))
            rowed = torch.empty(count, 3, 32, 40)
            cropped = torch.empty(count, 3, 32, 32)
            for offset in range(9):
                chosen = down == offset
                rowed[chosen] = batch[chosen, :, offset : offset + 32]
            for offset in range(9):
                chosen = right == offset
                cropped[chosen] = rowed[chosen, :, :, offset : offset + 32]
            mirrored = torch.rand(count) < 0.5
            cropped = torch.where(mirrored[:, None, None, None], cropped.flip(-1), cropped)
            top, left = torch.randint(25, (2, count, 1, 1, 1))
            places = torch.arange(32)
            inside_rows = (places[:, None] >= top) & (places[:, None] < top + 8)
            inside = inside_rows & (places >= left) & (places < left + 8)
            inside &= (torch.rand(count) < 0.5)[:, None, None, None]
            yield cropped.masked_fill(inside, 0), labels[rows]

    return batches


def raw_resnet9(count: int, *, width: int, batch_size: int, epochs: int) -> float:
    """Return the pictures a second of a plain loop over float pictures already in memory."""
    torch.manual_seed(0)
    inputs = torch.randn(count, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(10, (count,))
    network = ResNet9(input_shape=(3, 32, 32), num_outputs=10, width=width, output_scale=0.125)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, fused=True)
    criterion = nn.CrossEntropyLoss()
    started = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(count)
        for rows in order.split(batch_size):
            loss = criterion(network(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return epochs * count / (time.perf_counter() - started)
