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
    """A check and the keys that must be valid for it."""

    keys: tuple[KeyPath, ...]
    check: Check


class Rules(list[Rule]):
    """Rules in the order in which they are checked."""

    def rule(self, *keys: str) -> Callable[[Check], Check]:
        """Add a check that reads these keys (dotted for those of a table)."""

        def add(check: Check) -> Check:
            self.append(Rule(tuple(tuple(key.split(".")) for key in keys), check))
            return check

        return add
