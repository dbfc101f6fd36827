"""A key's life on the command line: without a server by the owner's lock, beside one through its API."""

from __future__ import annotations

from pathlib import Path

from cli import _filled
from cli.conftest import Heedful
from heedful.access import keys
from heedful.domain.access import Key
from heedful.domain.ids import TenantId

T = TenantId("default")


def kept(directory: Path) -> dict[str, Key]:
    with _filled.opened(directory / "heedful-data") as store:
        return {key.id: key for key in store.find(Key, T)}


def test_a_key_is_issued_rotated_and_revoked(heedful: Heedful, tmp_path: Path) -> None:
    issued = heedful("keys", "issue", "--scope", "admin", "--name", "ops", "--json", "--dir", tmp_path)
    assert issued.code == 0
    first, text = issued.json["key"]["id"], issued.json["text"]
    id, secret = keys.split(text)
    assert id == first
    key = kept(tmp_path)[first]
    assert key.digest == keys.digest(secret)
    assert secret not in repr(key)

    rotated = heedful("keys", "rotate", first, "--overlap-seconds", "60", "--json", "--dir", tmp_path)
    second = rotated.json["key"]["id"]
    assert rotated.json["text"] != text
    listed = {key["id"]: key for key in heedful("keys", "list", "--json", "--dir", tmp_path).json}
    assert listed[first]["successor"] == second
    assert listed[second]["scope"] == "admin"

    assert heedful("keys", "revoke", second, "--dir", tmp_path).code == 0
    page = heedful("keys", "list", "--dir", tmp_path).out
    assert "revoked" in next(line for line in page.splitlines() if second in line)
    assert "works" in next(line for line in page.splitlines() if first in line)
    verbs = [act["verb"] for act in heedful("audit", "log", "--json", "--dir", tmp_path).json]
    assert verbs == ["key.revoked", "key.issued", "key.rotated", "key.issued"]


def test_the_secret_alone_goes_to_standard_output(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful("keys", "issue", "--scope", "viewer", "--expires-days", "30", "--dir", tmp_path)
    assert keys.split(said.out.strip())[0] in kept(tmp_path)
    assert "not shown again" in said.err


def test_a_key_that_would_mean_nothing_is_wrong_use(heedful: Heedful, tmp_path: Path) -> None:
    rater = heedful("keys", "issue", "--scope", "rater", "--dir", tmp_path)
    widget = heedful("keys", "issue", "--scope", "widget", "--origin", "not an origin", "--dir", tmp_path)
    assert (rater.code, widget.code) == (2, 2)
    assert "person" in rater.err
    assert "origin" in widget.err


def test_an_unknown_key_is_refused(heedful: Heedful, tmp_path: Path) -> None:
    heedful("keys", "issue", "--scope", "admin", "--dir", tmp_path)
    said = heedful("keys", "revoke", "hk_nobody", "--dir", tmp_path)
    assert said.code == 1
    assert "hk_nobody" in said.err


def test_whoever_holds_the_database_is_named(heedful: Heedful, tmp_path: Path) -> None:
    with _filled.opened(tmp_path / "heedful-data"):
        said = heedful("keys", "issue", "--scope", "admin", "--dir", tmp_path)
    assert said.code == 1
    assert "belongs to" in said.err
