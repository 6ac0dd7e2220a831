"""What the config says of the classes, held against those that the data have."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.errors import Diagnostic, KeyPath, Note

_MOST_NAMED = 10


def check_classes(
    config: ClassificationConfig, class_names: tuple[str, ...], data_key: KeyPath
) -> Iterator[Diagnostic]:
    """Hold num_classes and class_weights against the classes of the data.

    Args:
        config: The config.
        class_names: The classes, in the order of their labels.
        data_key: The key that names the data.
    """
    count = len(class_names)
    more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
    listed = ", ".join(class_names[:_MOST_NAMED]) + more
    notes = (Note("the data are named here", data_key),)
    if config.num_classes not in (None, count):
        yield Diagnostic(
            "class-mismatch",
            f"num_classes is {config.num_classes}, but the training data have {count} classes",
            ("num_classes",),
            help=f"leave it out to take it from the data; the classes are {listed}",
            notes=notes,
        )
    weights = config.class_weights
    # With num_classes given, a list of another length is reported without the data.
    if (
        isinstance(weights, tuple)
        and len(weights) != count
        and len(weights) == (config.num_classes or len(weights))
    ):
        yield Diagnostic(
            "class-weights-length",
            f"class_weights has {len(weights)} entries, the training data have {count} classes",
            ("class_weights",),
            help=f'give one weight per class, or "balanced"; the classes are {listed}',
            notes=notes,
        )
