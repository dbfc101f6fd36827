"""The one list of what counts as unsafe, with versions: guards, flags, statistics and budgets all use it.

The list itself is a YAML file (`taxonomy.yaml` beside this module, or your own), because people who are not
programmers own it. A violation names the version that it was judged under.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from heedful.errors import InvalidInput


class Severity(IntEnum):
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    id: str  # dotted: "privacy.card_number"
    title: str
    severity: Severity  # unless the one who flags says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxonomy:
    version: str
    categories: Mapping[str, Category]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Taxonomy:
        """From the parsed YAML; a wrong entry is named."""
        try:
            entries = [
                Category(id=key, title=value["title"], severity=Severity[value["severity"].upper()])
                for key, value in raw["categories"].items()
            ]
            return cls(version=str(raw["version"]), categories={entry.id: entry for entry in entries})
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"the safety taxonomy does not read: {error!r}; "
                "it has a version and categories with title and severity",
                field="taxonomy",
            ) from error

    def category(self, name: str) -> Category:
        found = self.categories.get(name)
        if found is None:
            known = ", ".join(sorted(self.categories))
            raise InvalidInput(
                f"category {name!r} is not in taxonomy {self.version}: it has {known}", field="said.category"
            )
        return found
