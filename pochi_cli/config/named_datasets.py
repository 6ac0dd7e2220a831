"""What is known of the named data sets without their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pochi_cli.config.steps.arguments import Size

PublishedName = Literal["cifar10", "cifar100", "mnist", "fashion_mnist"]
"""The data sets that lie in files of their own formats, and are downloaded where these are missing."""


class NamedDataset(NamedTuple):
    """What is known of a named data set without its files.

    Attributes:
        train_images, val_images: Number of images in its own training and validation (or test) part.
        image_size: Height and width of each image.
        class_names: Its classes.
    """

    train_images: int
    val_images: int
    image_size: Size
    class_names: tuple[str, ...]


_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel "
    "can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur "
    "dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion "
    "lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree "
    "pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea "
    "seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table "
    "tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman "
    "worm"
)
_MNIST = (
    "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven",
    "8 - eight", "9 - nine",
)  # fmt: skip
_FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

NAMED_DATASETS: Mapping[str, NamedDataset] = {
    "digits": NamedDataset(1438, 359, (8, 8), tuple("0123456789")),
    "cifar10": NamedDataset(50_000, 10_000, (32, 32), tuple(_CIFAR10.split())),
    "cifar100": NamedDataset(50_000, 10_000, (32, 32), tuple(_CIFAR100.split())),
    "mnist": NamedDataset(60_000, 10_000, (28, 28), _MNIST),
    "fashion_mnist": NamedDataset(60_000, 10_000, (28, 28), _FASHION_MNIST),
}
