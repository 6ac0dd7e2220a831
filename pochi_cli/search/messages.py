"""What a searching process and those that train its trials tell each other: JSON, one message a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import IO, Any, ClassVar


@dataclass(frozen=True)
class Order:
    """Train a trial.

    Attributes:
        config: Its config, as plain values.
        directory: Of its run.
        metric: What is told of each epoch.
    """

    kind: ClassVar = "order"
    config: dict[str, Any]
    directory: str
    metric: str


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial after an epoch.

    Attributes:
        stop: Whether it ends.
    """

    kind: ClassVar = "decision"
    stop: bool


@dataclass(frozen=True)
class Ready:
    """A process can take orders."""

    kind: ClassVar = "ready"


@dataclass(frozen=True)
class Unusable:
    """A process can train nothing.

    Attributes:
        message, hint: Why.
    """

    kind: ClassVar = "unusable"
    message: str
    hint: str | None


@dataclass(frozen=True)
class Warned:
    """A training told a doubt.

    Attributes:
        text: What.
    """

    kind: ClassVar = "warned"
    text: str


@dataclass(frozen=True)
class Stepped:
    """A training has got on.

    Attributes:
        epoch: The epoch, from 1.
        done: Share of its batches that are done.
    """

    kind: ClassVar = "stepped"
    epoch: int
    done: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done, and a decision is waited for.

    Attributes:
        epoch: The epoch, from 1.
        value: The metric.
    """

    kind: ClassVar = "epoch_done"
    epoch: int
    value: float


@dataclass(frozen=True)
class Trained:
    """A training is over.

    Attributes:
        threads: Threads that it computed with.
        batch_size: Images in a batch.
        data_fingerprint: Of its images.
    """

    kind: ClassVar = "trained"
    threads: int
    batch_size: int
    data_fingerprint: str


@dataclass(frozen=True)
class Failed:
    """A training failed.

    Attributes:
        reason: Why.
    """

    kind: ClassVar = "failed"
    reason: str


@dataclass(frozen=True)
class Interrupted:
    """A training was stopped, as it was told to."""

    kind: ClassVar = "interrupted"


Message = Order | Decision | Ready | Unusable | Warned | Stepped | EpochDone | Trained | Failed | Interrupted
_KINDS: dict[str, type[Message]] = {
    kind.kind: kind
    for kind in (Order, Decision, Ready, Unusable, Warned, Stepped, EpochDone, Trained, Failed, Interrupted)
}


def send(stream: IO[str], message: Message) -> None:
    """Write a message.

    Raises:
        OSError: Nobody reads any more.
    """
    stream.write(json.dumps({"kind": message.kind, **asdict(message)}) + "\n")
    stream.flush()


def receive(line: str) -> Message:
    """Read a message."""
    content = json.loads(line)
    return _KINDS[content.pop("kind")](**content)
