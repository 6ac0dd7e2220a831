"""What is learnt: all of a training that depends on it is found here."""

from __future__ import annotations

from pochi_cli.config.root import ClassificationConfig, Config
from pochi_cli.data.published import Tell
from pochi_cli.engine.classification import ClassificationTask
from pochi_cli.engine.embedding import EmbeddingTask

Task = ClassificationTask | EmbeddingTask


def prepare_task(config: Config, tell: Tell) -> Task:
    """Find and check the data of a config.

    Args:
        config: The config.
        tell: Told in words what is done or doubtful.

    Raises:
        DataError, StorageError: The data cannot be used.
    """
    if isinstance(config, ClassificationConfig):
        return ClassificationTask.prepare(config, tell)
    return EmbeddingTask.prepare(config, tell)
