"""What a rule is: a check that concerns more than one key.

Each rule names the keys that it reads and is checked whenever those are valid, also when others are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.errors import Diagnostic, KeyPath

Check = Callable[[ClassificationConfig], Iterator[Diagnostic]]


@dataclass(frozen=True)
class Rule:
    """A check and what it needs.

    Attributes:
        keys: The keys that it reads.
        check: The check.
        needs_all: Whether it can say nothing while an entry of one of these is left out or stood in for.
    """

    keys: tuple[KeyPath, ...]
    check: Check
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


class Rules(list[Rule]):
    """Rules in the order in which they are checked.

    Args:
        needs_all: As for each rule.
    """

    def __init__(self, *, needs_all: bool = False) -> None:
        super().__init__()
        self._needs_all = needs_all

    def rule(self, *keys: str) -> Callable[[Check], Check]:
        """Add a check that reads these keys (dotted for those of a table)."""

        def add(check: Check) -> Check:
            self.append(Rule(tuple(tuple(key.split(".")) for key in keys), check, self._needs_all))
            return check

        return add
