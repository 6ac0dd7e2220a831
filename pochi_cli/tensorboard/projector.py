"""The files of TensorBoard's embedding projector. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from pochi_cli.characters import printable
from pochi_cli.runs.atomic import atomic_writer, write_text
from pochi_cli.runs.layout import RunLayout, make_part
from pochi_cli.tensorboard.pictures import lay_out, png, square_edge

_HEADER = ("class", "predicted", "image")


def write_embedding(
    layout: RunLayout,
    vectors: NDArray[np.float32],
    labels: Sequence[tuple[str, str, str]],
    thumbnails: NDArray[np.uint8],
) -> None:
    """Write vectors with their labels and pictures; what was there is replaced.

    Args:
        layout: Of the run.
        vectors: (count, features).
        labels: Class, predicted class and file of each.
        thumbnails: uint8 (count, height, width, 3), all of one size.

    Raises:
        StorageError: Writing failed.
    """
    make_part(layout.embeddings)
    lines = ("\t".join(f"{value:.6g}" for value in vector) for vector in vectors.tolist())
    write_text(layout.embedding_vectors, "\n".join(lines) + "\n")
    rows = ("\t".join(map(printable, row)) for row in (_HEADER, *labels))
    write_text(layout.embedding_labels, "\n".join(rows) + "\n")
    with atomic_writer(layout.embedding_sprite) as file:
        edge = square_edge(len(thumbnails))  # the projector cuts a square out, row by row
        file.write(png(lay_out(thumbnails, columns=edge, rows=edge)))
    config = ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "penultimate features"
    root = layout.tensorboard
    embedding.tensor_path = str(layout.embedding_vectors.relative_to(root).as_posix())
    embedding.metadata_path = str(layout.embedding_labels.relative_to(root).as_posix())
    embedding.sprite.image_path = str(layout.embedding_sprite.relative_to(root).as_posix())
    _, height, width, _ = thumbnails.shape
    embedding.sprite.single_image_dim.extend([width, height])
    write_text(layout.projector_config, text_format.MessageToString(config))
