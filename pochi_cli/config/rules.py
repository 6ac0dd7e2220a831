"""What a rule is: a check that concerns more than one key.

Each rule names the keys that it reads and is checked whenever those are valid, also when others are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pochi_cli.config.root import Config
from pochi_cli.errors import Diagnostic, KeyPath

C = TypeVar("C")


@dataclass(frozen=True)
class Rule(Generic[C]):
    """A check and what it needs.

    Attributes:
        keys: The keys that it reads.
        check: The check.
        needs_all: Whether it can say nothing while an entry of one of these is left out or stood in for.
    """

    keys: tuple[KeyPath, ...]
    check: Callable[[C], Iterator[Diagnostic]]
    needs_all: bool = False

    def may_judge(self, invalid: set[KeyPath]) -> bool:
        """Tell whether what it reads is valid.

        Args:
            invalid: The parts of the config that are not.
        """
        return not any(
            key[: len(path)] == path or (self.needs_all and path[: len(key)] == key)
            for path in invalid
            for key in self.keys
        )


class Rules(Generic[C]):
    """Rules in the order in which they are checked.

    Args:
        subject: The class of the configs that they are about.
        needs_all: As for each rule.
    """

    def __init__(self, subject: type[C], *, needs_all: bool = False) -> None:
        self._subject = subject
        self._needs_all = needs_all
        self._rules: list[Rule[C]] = []

    def rule(
        self, *keys: str
    ) -> Callable[[Callable[[C], Iterator[Diagnostic]]], Callable[[C], Iterator[Diagnostic]]]:
        """Add a check that reads these keys (dotted for those of a table)."""

        def add(check: Callable[[C], Iterator[Diagnostic]]) -> Callable[[C], Iterator[Diagnostic]]:
            self._rules.append(Rule(tuple(tuple(key.split(".")) for key in keys), check, self._needs_all))
            return check

        return add

    def findings(self, config: Config, invalid: set[KeyPath]) -> Iterator[Iterator[Diagnostic]]:
        """Check a config by each rule that is about such ones and can judge it.

        Args:
            config: The config.
            invalid: The parts of it that are not valid.
        """
        if isinstance(config, self._subject):
            for rule in self._rules:
                if rule.may_judge(invalid):
                    yield rule.check(config)
