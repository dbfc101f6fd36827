"""Settings come from three places; what cannot be is refused by name, with the nearest name that can."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from heedful.commands import manual
from heedful.errors import Misconfigured
from heedful.settings import FILE, load, names


def written(directory: Path, **settings: object) -> Path:
    (directory / FILE).write_text(yaml.safe_dump(settings))
    return directory


def test_without_any_source_everything_has_a_default(tmp_path: Path) -> None:
    settings = load(tmp_path, environment={})
    assert settings.server.port == 8080
    assert settings.data == tmp_path / "heedful-data"


def test_the_environment_is_stronger_than_the_file_and_set_is_stronger_than_both(tmp_path: Path) -> None:
    written(tmp_path, server={"port": 1, "host": "127.0.0.2", "log_level": "DEBUG"})
    settings = load(
        tmp_path,
        environment={"HEEDFUL_SERVER__PORT": "2", "HEEDFUL_SERVER__HOST": "127.0.0.3", "PATH": "/bin"},
        overrides=["server.port=3"],
    )
    assert (settings.server.port, settings.server.host, settings.server.log_level) == (
        3,
        "127.0.0.3",
        "DEBUG",
    )


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("server.prot", "server.port"), ("releases.marign", "releases.margin"), ("databse", "database")],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_name(tmp_path: Path, wrong: str, near: str) -> None:
    head, _, leaf = wrong.partition(".")
    variable = "HEEDFUL_" + wrong.upper().replace(".", "__")
    with pytest.raises(Misconfigured, match=f"{wrong}.*{near}"):
        load(tmp_path, environment={}, overrides=[f"{wrong}=1"])
    with pytest.raises(Misconfigured, match=f"{wrong}.*{near}"):
        load(tmp_path, environment={variable: "1"})
    with pytest.raises(Misconfigured, match=f"{wrong}.*{near}"):
        load(written(tmp_path, **{head: {leaf: 1} if leaf else 1}), environment={})


def test_a_key_like_no_other_is_refused_with_the_names_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"zzzzzz.*server"):
        load(tmp_path, environment={}, overrides=["zzzzzz=1"])


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("server.port=high", "server.port"),
        ("server.port=70000", "server.port"),
        ("labeling.prior=2", "labeling.prior"),
        ("releases.steps=5", "releases.steps"),
        ("releases.steps=[10, 5, 100]", "releases.steps"),
        ("releases.steps=[5, 50]", "releases.steps"),
        ("server.name=two words", "server.name"),
    ],
)
def test_a_bad_value_names_its_setting(tmp_path: Path, override: str, name: str) -> None:
    with pytest.raises(Misconfigured, match=f"setting {name} is"):
        load(tmp_path, environment={}, overrides=[override])


def test_an_override_without_a_value_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"server\.port=VALUE"):
        load(tmp_path, environment={}, overrides=["server.port"])


def test_a_value_has_nothing_inside(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="seed"):
        load(tmp_path, environment={}, overrides=["seed=1", "seed.more=2"])


@pytest.mark.parametrize("text", ["- a list", "server: [", "just words"])
def test_a_file_that_holds_no_settings_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Misconfigured, match=FILE):
        load(tmp_path, environment={})


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("")
    assert load(tmp_path, environment={}) == load(tmp_path / "elsewhere", environment={}).model_copy(
        update={"data": tmp_path / "heedful-data"}
    )


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        load(tmp_path, file=tmp_path / "other.yaml", environment={})


def test_every_setting_explains_itself() -> None:
    assert [name for name, about in names().items() if not about] == []


def test_the_manual_knows_every_setting() -> None:
    assert [setting.name for setting in manual.settings() if ".NAME." not in setting.name] == list(names())


def test_the_example_sets_nothing_as_it_is_and_reads_when_its_marks_are_taken_off(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(manual.example())
    assert load(tmp_path, environment={}) == load(tmp_path / "none", environment={}).model_copy(
        update={"data": tmp_path / "heedful-data"}
    )
    # As somebody would who wants all of it: the first mark of every line that is not a sentence.
    lines = [line.removeprefix("# ") for line in manual.example().splitlines()[3:]]
    values = [line for line in lines if ":" in line and not line.lstrip().startswith("#") and "`" not in line]
    (tmp_path / FILE).write_text("\n".join(values))
    settings = load(tmp_path, environment={})
    assert settings.inference.upstreams["vllm"].key_from == "VLLM_KEY"
    assert settings.releases.steps == (5, 10, 20, 40, 80, 100)


def test_what_only_says_where_things_are_does_not_change_the_stamp_on_turns(tmp_path: Path) -> None:
    plain = load(tmp_path, environment={})
    for override in ("server.port=1", "server.name=two", "database=postgresql://heedful:secret@db/heedful"):
        assert load(tmp_path, environment={}, overrides=[override]).digest == plain.digest
    assert load(tmp_path, environment={}, overrides=["labeling.candidates=3"]).digest != plain.digest
