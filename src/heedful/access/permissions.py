"""The one table of who may do what. What is not in it is not allowed.

It follows "Who may do what" of the house's page; a test walks every route with every scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from heedful.access.caller import Caller
from heedful.domain.access import OPERATOR, Scope
from heedful.domain.feedback import Source
from heedful.errors import NotAllowed


class Action(StrEnum):
    """Everything that a route can ask for."""

    ANSWER = "get answers from policies"
    WORK = "begin, end and read episodes"
    BRING = "bring what was done elsewhere"
    FOLLOW = "see how an episode stands"  # without what was said in it
    SAY = "give feedback"
    JUDGE = "take and answer assignments"
    ASSIGN = "take assignments for somebody else"
    ASK = "make queues"
    ADJUDICATE = "set known answers"
    OVERWATCH = "decide about held answers"
    READ = "read figures"  # policies, releases, runs, lineage: no raw text
    READ_TEXT = "read what people and agents wrote"
    ADOPT = "bring policies"
    RELEASE = "begin releases and take them back"
    OVERRIDE = "release what a gate refused"
    LEARN = "start cycles"
    MEND = "replay and purge dead letters"
    AUDIT = "see the audit log"
    KEYS = "issue, rotate and revoke keys"
    TENANTS = "issue keys of another tenant, or purge it"
    PURGE = "remove what was kept long enough"
    OPERATE = "see the metrics of the whole server"


ALLOWED: Mapping[Scope, frozenset[Action]] = {
    Scope.ADMIN: frozenset(Action),
    Scope.ENGINEER: frozenset(
        {
            *(Action.READ, Action.FOLLOW, Action.ADOPT, Action.RELEASE, Action.LEARN),
            *(Action.ASK, Action.JUDGE, Action.ASSIGN, Action.MEND, Action.BRING),
        }
    ),
    Scope.REVIEWER: frozenset(
        {
            *(Action.READ, Action.READ_TEXT, Action.FOLLOW, Action.AUDIT),
            *(Action.ADJUDICATE, Action.OVERWATCH, Action.JUDGE, Action.SAY),
        }
    ),
    Scope.RATER: frozenset({Action.JUDGE, Action.SAY}),
    Scope.AGENT: frozenset({Action.ANSWER, Action.WORK, Action.FOLLOW, Action.BRING}),
    Scope.PRODUCT: frozenset({Action.SAY, Action.FOLLOW}),
    Scope.WIDGET: frozenset({Action.SAY}),
    Scope.VIEWER: frozenset({Action.READ, Action.OPERATE}),
}

OPERATORS_ONLY = frozenset({Action.TENANTS, Action.OPERATE})  # they reach beyond one tenant

_USERS = frozenset({Source.DIRECT, Source.BEHAVIOUR})
SOURCES: Mapping[Scope, frozenset[Source]] = {
    # A widget's key is in everybody's browser: what comes with it is never more than a passer-by's word.
    Scope.WIDGET: _USERS,
    Scope.PRODUCT: frozenset(Source) - {Source.EXPERT},
    Scope.RATER: frozenset({Source.EXPERT, Source.SAFETY}),
    Scope.REVIEWER: frozenset({Source.EXPERT, Source.SAFETY}),
    Scope.ADMIN: frozenset(Source),
}


def may(caller: Caller, action: Action) -> bool:
    if action in OPERATORS_ONLY and caller.tenant != OPERATOR:
        return False
    return action in ALLOWED[caller.scope]


def require(caller: Caller, action: Action) -> None:
    """Nothing, or `NotAllowed` that says which scopes may."""
    if may(caller, action):
        return
    scopes = ", ".join(scope for scope, actions in ALLOWED.items() if action in actions)
    where = f" of tenant {OPERATOR!r}" if action in OPERATORS_ONLY else ""
    raise NotAllowed(f"a key with scope {caller.scope} may not {action}: use one with {scopes}{where}")


def require_source(caller: Caller, source: Source) -> None:
    """Nothing, or `NotAllowed`: nobody claims more for a word than the one who brings it can know."""
    allowed = SOURCES.get(caller.scope, frozenset())
    if source not in allowed:
        raise NotAllowed(
            f"a key with scope {caller.scope} gives feedback of source {', '.join(sorted(allowed)) or 'none'}"
            f", not {source}",
            field="source",
        )
