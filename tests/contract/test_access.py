"""Keys: what is kept of them, what they open, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heedful.access import keys
from heedful.access.bind import check_bind, is_loopback
from heedful.access.caller import Caller
from heedful.access.permissions import ALLOWED, OPERATORS_ONLY, SOURCES, Action, may, require, require_source
from heedful.domain.access import Key, Scope, Tenant
from heedful.domain.clock import SetClock
from heedful.domain.feedback import Source
from heedful.domain.ids import KeyId, PersonId, TenantId
from heedful.errors import Conflict, InvalidInput, Misconfigured, NotAllowed, NotFound, NotKnown
from heedful.road import Parts
from heedful.service.door import keyring
from parts import make_parts

ACME, OTHER = TenantId("acme"), TenantId("other")
START = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> SetClock:
    return SetClock(START)


@pytest.fixture
def parts(url: str, tmp_path: Path, clock: SetClock) -> Iterator[Parts]:
    made = make_parts(tmp_path, url=url, clock=clock)
    yield made
    made.store.close()


def use(parts: Parts, text: str, origin: str | None = None) -> Caller:
    id, secret = keys.split(text)
    return keys.check(parts.views.key(id), secret, now=parts.clock.now(), origin=origin)


def test_a_key_opens_its_own_tenant_with_its_own_scope(parts: Parts) -> None:
    text = keyring.issue(parts, ACME, Scope.RATER, actor="test", person=PersonId("rita")).text
    caller = use(parts, text)
    assert (caller.tenant, caller.scope, caller.person) == (ACME, Scope.RATER, "rita")


def test_only_a_digest_of_the_secret_is_kept(parts: Parts) -> None:
    issued = keyring.issue(parts, ACME, Scope.AGENT, actor="test")
    _, secret = keys.split(issued.text)
    kept = parts.store.get(Key, ACME, issued.key.id)
    entries = b"".join(body for _, body, _ in parts.store.audit_entries())
    assert kept is not None
    assert len(secret) >= 43
    assert secret not in repr(kept)
    assert secret.encode() not in entries


@pytest.mark.parametrize("text", ["", "hk_1", "hk_1.", ".secret", "no dot"])
def test_what_is_no_key_is_not_looked_up(text: str) -> None:
    with pytest.raises(NotKnown, match="prefix and secret"):
        keys.split(text)


def test_an_unknown_key_and_a_wrong_secret_look_the_same(parts: Parts) -> None:
    text = keyring.issue(parts, ACME, Scope.ADMIN, actor="test").text
    said = []
    for wrong in (text + "x", "hk_unknown.secret"):
        with pytest.raises(NotKnown) as caught:
            use(parts, wrong)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_key_ends_at_its_time(parts: Parts, clock: SetClock) -> None:
    ends = START + timedelta(hours=1)
    text = keyring.issue(parts, ACME, Scope.AGENT, actor="test", expires_at=ends).text
    clock.forward(3599)
    use(parts, text)
    clock.forward(1)
    with pytest.raises(NotKnown, match="ended"):
        use(parts, text)


def test_a_revoked_key_is_good_for_nothing(parts: Parts) -> None:
    issued = keyring.issue(parts, ACME, Scope.AGENT, actor="test")
    keyring.revoke(parts, ACME, issued.key.id, actor="test")
    keyring.revoke(parts, ACME, issued.key.id, actor="test")
    with pytest.raises(NotKnown, match="revoked"):
        use(parts, issued.text)


def test_after_a_rotation_both_keys_work_for_a_while(parts: Parts, clock: SetClock) -> None:
    old = keyring.issue(parts, ACME, Scope.RATER, actor="test", person=PersonId("rita"))
    _, new = keyring.rotate(parts, ACME, old.key.id, actor="test", overlap=timedelta(hours=1))
    assert use(parts, old.text).person == use(parts, new.text).person == "rita"
    clock.forward(3600)
    use(parts, new.text)
    with pytest.raises(NotKnown):
        use(parts, old.text)
    with pytest.raises(Conflict, match="rotated already"):
        keyring.rotate(parts, ACME, old.key.id, actor="test", overlap=timedelta(0))


def test_a_rotation_gives_no_longer_life(parts: Parts) -> None:
    old = keyring.issue(parts, ACME, Scope.AGENT, actor="test", expires_at=START + timedelta(days=30))
    ending, new = keyring.rotate(parts, ACME, old.key.id, actor="test", overlap=timedelta(days=90))
    assert ending.expires_at == START + timedelta(days=30)
    assert new.key.expires_at == START + timedelta(days=30)


def test_every_act_on_a_key_is_audited(parts: Parts) -> None:
    issued = keyring.issue(parts, ACME, Scope.AGENT, actor="ada")
    _, new = keyring.rotate(parts, ACME, issued.key.id, actor="ada", overlap=timedelta(0))
    keyring.revoke(parts, ACME, new.key.id, actor="ada")
    entries = [body for _, body, _ in parts.store.audit_entries()]
    verbs = ["key.issued", "key.rotated", "key.issued", "key.revoked"]
    assert all(verb.encode() in entry for verb, entry in zip(verbs, entries, strict=True))


def test_nobody_touches_the_keys_of_another_tenant(parts: Parts) -> None:
    issued = keyring.issue(parts, ACME, Scope.AGENT, actor="test")
    for act in (
        lambda: keyring.revoke(parts, OTHER, issued.key.id, actor="test"),
        lambda: keyring.rotate(parts, OTHER, issued.key.id, actor="test", overlap=timedelta(0)),
    ):
        with pytest.raises(NotFound):
            act()
    assert keyring.known(parts, OTHER) == []


def test_a_tenant_begins_with_its_first_key(parts: Parts) -> None:
    assert not keyring.has_keys(parts)
    keyring.issue(parts, ACME, Scope.ADMIN, actor="test")
    keyring.issue(parts, ACME, Scope.VIEWER, actor="test")
    assert [tenant.id for tenant in parts.views.tenants()] == [ACME]
    assert parts.store.get(Tenant, ACME, ACME) is not None
    assert keyring.has_keys(parts)


def test_a_widgets_key_works_from_its_origin_only(parts: Parts) -> None:
    text = keyring.issue(parts, ACME, Scope.WIDGET, actor="test", origin="https://shop.example").text
    assert use(parts, text, "https://shop.example").origin == "https://shop.example"
    for origin in ("https://evil.example", None):
        with pytest.raises(NotAllowed, match="works from"):
            use(parts, text, origin)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scope": Scope.RATER}, "person"),
        ({"scope": Scope.WIDGET}, "origin"),
        ({"scope": Scope.AGENT, "origin": "https://shop.example"}, "origin"),
        ({"scope": Scope.AGENT, "expires_at": START}, "expires_at"),
    ],
)
def test_a_key_that_means_nothing_is_not_issued(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        keys.issue(KeyId("hk_1"), tenant=ACME, at=START, **fields)  # type: ignore[arg-type]
    assert caught.value.field == field


# -- the table ----------------------------------------------------------------------------------------------


def test_the_table_knows_every_scope_and_admins_may_all() -> None:
    assert ALLOWED.keys() == set(Scope)
    assert ALLOWED[Scope.ADMIN] == set(Action)


@pytest.mark.parametrize("action", sorted(OPERATORS_ONLY))
def test_what_reaches_beyond_a_tenant_is_the_operators(action: Action) -> None:
    assert may(Caller(tenant=TenantId("default"), scope=Scope.ADMIN), action)
    assert not may(Caller(tenant=ACME, scope=Scope.ADMIN), action)


def test_a_refusal_names_who_may() -> None:
    with pytest.raises(NotAllowed, match="widget may not issue, rotate and revoke keys: use one with admin"):
        require(Caller(tenant=ACME, scope=Scope.WIDGET), Action.KEYS)


def test_nobody_claims_more_for_a_word_than_they_can_know() -> None:
    assert all(Action.SAY in ALLOWED[scope] for scope in SOURCES)
    assert SOURCES.keys() == {scope for scope in Scope if Action.SAY in ALLOWED[scope]}
    with pytest.raises(NotAllowed) as caught:
        require_source(Caller(tenant=ACME, scope=Scope.WIDGET), Source.EXPERT)
    assert caught.value.field == "source"


# -- where a server may listen ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_is_served_without_keys(host: str) -> None:
    assert is_loopback(host)
    check_bind(host, has_keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "127.0.0.1.example.org"])
def test_other_machines_are_served_only_with_keys(host: str) -> None:
    assert not is_loopback(host)
    check_bind(host, has_keys=True)
    with pytest.raises(Misconfigured, match="heedful keys issue"):
        check_bind(host, has_keys=False)
