"""What an event can hold, made of plain values and arrays. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.api_pb2 import (
    DataType,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
    Status,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.pr_curve.metadata import create_summary_metadata as pr_curve_metadata
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata


@dataclass(frozen=True)
class Histogram:
    """How the values of a tensor are spread.

    Attributes:
        low, high: Smallest and largest value; both finite.
        total, total_of_squares: Sum of the values, and of their squares.
        counts: How many fall into each of as many equally wide buckets from `low` to `high`.
    """

    low: float
    high: float
    total: float
    total_of_squares: float
    counts: tuple[int, ...]


def scalar(tag: str, value: float) -> Summary:
    """A number; NaN and infinity are allowed."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def text(tag: str, markdown: str) -> Summary:
    """A text in Markdown."""
    tensor = TensorProto(
        dtype="DT_STRING",
        string_val=[markdown.encode("utf-8", "backslashreplace")],
        tensor_shape=_shape([1]),
    )
    metadata = text_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def histogram(tag: str, values: Histogram) -> Summary:
    """The spread of a tensor's values."""
    limits = np.linspace(values.low, values.high, len(values.counts) + 1)[1:]
    proto = HistogramProto(
        min=values.low,
        max=values.high,
        num=sum(values.counts),
        sum=values.total,
        sum_squares=values.total_of_squares,
        bucket_limit=limits.tolist(),
        bucket=list(values.counts),
    )
    return Summary(value=[Summary.Value(tag=tag, histo=proto)])


def image(tag: str, png: bytes, height: int, width: int) -> Summary:
    """A picture, encoded as PNG."""
    picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=picture)])


def pr_curve(tag: str, curve: NDArray[np.float64]) -> Summary:
    """A precision-recall curve.

    Args:
        tag: The tag.
        curve: (6, thresholds): true and false positives, true and false negatives, precision and recall, at
            thresholds that rise evenly from 0 to 1.
    """
    tensor = TensorProto(dtype="DT_FLOAT", float_val=curve.ravel().tolist(), tensor_shape=_shape(curve.shape))
    metadata = pr_curve_metadata(display_name="", description="", num_thresholds=curve.shape[1])
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def hyper_parameters(
    run_name: str, values: Mapping[str, float | str], metrics: Sequence[str], *, succeeded: bool
) -> Sequence[Summary]:
    """Hyper-parameters, in the run's own directory: torch's `add_hparams` would make one more run of them.

    Args:
        run_name: What the table calls the run.
        values: The hyper-parameters.
        metrics: Tags of the scalars that the run is judged by.
        succeeded: Whether the run came to its end.
    """
    experiment = Experiment(
        hparam_infos=[
            HParamInfo(
                name=name,
                type=DataType.Value("DATA_TYPE_STRING" if isinstance(value, str) else "DATA_TYPE_FLOAT64"),
            )
            for name, value in values.items()
        ],
        metric_infos=[MetricInfo(name=MetricName(tag=tag)) for tag in metrics],
    )
    end = SessionEndInfo(status=Status.Value("STATUS_SUCCESS" if succeeded else "STATUS_FAILURE"))
    return (
        _hparams(hparams_metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        hparams_pb(dict(values), trial_id=run_name),
        _hparams(hparams_metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    )


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    metadata = hparams_metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR)])


def _shape(sizes: Sequence[int]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
