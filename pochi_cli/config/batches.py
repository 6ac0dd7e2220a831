"""How an epoch is cut into batches: one definition for the plan and for the loader. Free of torch."""

from __future__ import annotations


def batch_starts(images: int, batch_size: int, *, join_last: bool = True) -> list[int]:
    """Find where the batches of an epoch start.

    Args:
        images: Images of the epoch.
        batch_size: Images per batch.
        join_last: Whether a last batch of one image joins the batch before, as in training: batch
            normalisation cannot normalise one image.
    """
    starts = list(range(0, images, batch_size))
    alone = images % batch_size == 1 and images > batch_size
    return starts[:-1] if alone and join_last else starts
