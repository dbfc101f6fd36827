"""Yesterday's logs on the command line: counted, kept once, and told of line by line where they are broken."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from cli import _filled
from cli.conftest import Heedful
from cli.test_up import serving
from foreign import CHAT, otlp, span
from heedful.commands import importing
from heedful.domain.episode import Episode, EpisodeState, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId
from heedful.errors import TooLarge
from heedful.feedback.formats.found import Found
from heedful.road import Taken

T = TenantId("default")
DATA = Path(__file__).resolve().parents[1] / "data" / "imports"


def turns(directory: Path) -> list[Turn]:
    with _filled.opened(directory / "heedful-data") as store:
        return store.find(Turn, T, limit=None)


@pytest.mark.parametrize(
    ("format", "name", "kept", "problems"),
    [
        ("openai-jsonl", "chats.jsonl", {"episodes": 3, "turns": 5, "feedback": 0}, 3),
        ("openai-jsonl", "requests.jsonl", {"episodes": 2, "turns": 4, "feedback": 0}, 1),
        ("langfuse", "langfuse.json", {"episodes": 1, "turns": 2, "feedback": 3}, 1),
        ("langfuse", "langfuse.jsonl", {"episodes": 1, "turns": 2, "feedback": 1}, 3),
        ("phoenix", "phoenix.jsonl", {"episodes": 2, "turns": 3, "feedback": 2}, 1),
    ],
)
def test_a_log_is_imported_once_however_often_it_is_sent(
    heedful: Heedful, tmp_path: Path, format: str, name: str, kept: dict[str, int], problems: int
) -> None:
    arguments = ("import", "episodes", "--format", format, DATA / name, "--json", "--dir", tmp_path)
    first, again = heedful(*arguments), heedful(*arguments)
    assert (first.code, again.code) == (0, 0)
    assert (first.json["kept"], first.json["problems"]) == (kept, problems)
    assert again.json["kept"] == {"episodes": 0, "turns": 0, "feedback": 0}
    assert again.json["duplicates"] == kept
    assert len(turns(tmp_path)) == kept["turns"]


def test_broken_lines_are_told_by_their_number(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful("import", "episodes", "--format", "openai-jsonl", DATA / "chats.jsonl", "--dir", tmp_path)
    assert said.code == 0
    assert "3 could not be used" in said.out
    assert "line 3" in said.out
    assert "it is not JSON" in said.out


def test_a_dry_run_counts_and_keeps_nothing(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful(
        *("import", "episodes", "--format", "langfuse", DATA / "langfuse.json", "--dry-run", "--json"),
        *("--dir", tmp_path, "--scale", "stars=1:5"),
    )
    assert (said.json["dry_run"], said.json["kept"]["feedback"], said.json["problems"]) == (True, 4, 0)
    assert not (tmp_path / "heedful-data").exists()


def test_traces_of_a_collector_are_read_packed_or_not(heedful: Heedful, tmp_path: Path) -> None:
    """One request a line, as its file exporter writes them; the spans of a trace lie lines apart."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "resolver"}
    lines = [otlp(span(id="b" * 16, parent="a" * 16)), otlp(span(agent, id="a" * 16)), {"resourceSpans": 5}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "traces.jsonl").write_text(text)
    (tmp_path / "traces.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("traces.jsonl", "traces.jsonl.gz"):
        said = heedful("import", "episodes", "--format", "otlp", tmp_path / name, "--json", "--dir", tmp_path)
        assert [one["where"] for one in said.json["first_problems"]] == ["line 3"]
    (turn,) = turns(tmp_path)
    assert turn.agent == "resolver"


def test_one_request_in_protobuf_is_read(heedful: Heedful, tmp_path: Path) -> None:
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    request = trace_service_pb2.ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    made = spans.add(
        trace_id=b"1" * 16, span_id=b"2" * 8, start_time_unix_nano=10**18, end_time_unix_nano=10**18 + 1
    )
    for name, text in CHAT.items():
        if isinstance(text, str):
            made.attributes.add(key=name).value.string_value = text
    (tmp_path / "traces.pb").write_bytes(request.SerializeToString())
    said = heedful(
        "import", "episodes", "--format", "otlp", tmp_path / "traces.pb", "--json", "--dir", tmp_path
    )
    assert said.json["kept"]["turns"] == 1
    with _filled.opened(tmp_path / "heedful-data") as store:
        (episode,) = store.find(Episode, T)
    assert episode.state is EpisodeState.DONE


def test_both_files_of_a_batch_are_named_in_one_command(heedful: Heedful, tmp_path: Path) -> None:
    said = heedful(
        *("import", "episodes", "--format", "openai-jsonl", DATA / "batch_input.jsonl"),
        *(DATA / "batch_output.jsonl", "--agent", "clerk", "--json", "--dir", tmp_path),
    )
    assert said.json["kept"]["turns"] == 2
    assert {turn.agent for turn in turns(tmp_path)} == {"clerk"}
    assert [one["where"] for one in said.json["first_problems"]] == [
        "batch_output.jsonl, line 3",
        "batch_input.jsonl, line 3",
    ]


def test_a_running_server_takes_it_in(heedful: Heedful, tmp_path: Path) -> None:
    with serving(tmp_path):
        issued = heedful("keys", "issue", "--scope", "admin", "--json", "--dir", tmp_path).json["text"]
        agent = heedful("keys", "issue", "--scope", "agent", "--json", "--dir", tmp_path, "--key", issued)
        log = ("import", "episodes", "--format", "langfuse", DATA / "langfuse.json", "--dir", tmp_path)
        refused = heedful(*log)
        assert (refused.code, "--key" in refused.err) == (1, True)
        first = heedful(*log, "--json", "--key", agent.json["text"])
        assert first.json["kept"] == {"episodes": 1, "turns": 2, "feedback": 2}
        reasons = [one["reason"] for one in first.json["first_problems"]]
        assert any("brings no correction" in reason for reason in reasons)  # it would teach
        second = heedful(*log, "--json", "--key", issued)
        assert second.json["kept"] == {"episodes": 0, "turns": 0, "feedback": 1}
        assert second.json["duplicates"] == {"episodes": 1, "turns": 2, "feedback": 2}
    with _filled.opened(tmp_path / "heedful-data") as store:
        assert len(store.find(Feedback, T)) == 3


def test_through_a_server_and_without_one_the_same_is_kept(heedful: Heedful, tmp_path: Path) -> None:
    log = ("import", "episodes", "--format", "openai-jsonl", DATA / "requests.jsonl")
    beside, alone = tmp_path / "beside", tmp_path / "alone"
    beside.mkdir()
    with serving(beside):
        heedful(*log, "--dir", beside)
    heedful(*log, "--dir", alone)
    assert turns(beside) == turns(alone)


def test_a_log_of_which_nothing_can_be_used_is_a_failure(heedful: Heedful, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("nonsense\n" * 30)
    said = heedful("import", "episodes", "--format", "phoenix", tmp_path / "log.jsonl", "--dir", tmp_path)
    assert said.code == 1
    assert "… and 10 more" in said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--format", "otlp", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--format", "phoenix", DATA / "phoenix.jsonl", "--scale", "stars"), "NAME=LOW:HIGH"),
        (("--format", "phoenix", DATA / "phoenix.jsonl", "--agent", "no good"), "agent"),
        (("--format", "csv", DATA / "phoenix.jsonl"), "csv"),
    ],
)
def test_wrong_use_is_told(heedful: Heedful, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    said = heedful("import", "episodes", *arguments, "--dir", tmp_path)
    assert said.code == 2
    assert says in said.err


class Noting:
    """Notes how far the file had been read when the first of it was handed on."""

    def __init__(self) -> None:
        self.read = 0
        self.first: int | None = None
        self.turns = 0

    def take(self, found: Found) -> Taken:
        self.first = self.read if self.first is None else self.first
        self.turns += len(found.turns)
        return Taken(kept={}, duplicates={})


def test_a_long_log_is_handed_on_while_it_is_read(tmp_path: Path) -> None:
    line = (DATA / "chats.jsonl").read_text().splitlines()[0]
    long = tmp_path / "long.jsonl"
    long.write_text("".join(f'{line[:-1]}, "n": {n}}}\n' for n in range(5000)))
    noting = Noting()

    def progress(bytes: int) -> None:
        noting.read += bytes

    told = importing.told(T, agent=None, scales=())
    importing.run([long], "openai-jsonl", told, noting, progress=progress)
    assert noting.turns == 10_000
    assert noting.read == long.stat().st_size
    assert noting.first is not None
    assert noting.first < long.stat().st_size / 10


def test_a_document_that_is_too_large_says_how_to_make_lines_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "WHOLE", 1000)
    told = importing.told(T, agent=None, scales=())
    with pytest.raises(TooLarge, match="jq"):
        importing.run([DATA / "langfuse.json"], "langfuse", told, Noting())


def test_a_line_that_is_too_long_is_left_out_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LONGEST_LINE", 500)
    log = tmp_path / "log.jsonl"
    short = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
    log.write_text(f"{short}\n{'x' * 2000}\n{short}\n")
    noting = Noting()
    summary = importing.run([log], "openai-jsonl", importing.told(T, agent=None, scales=()), noting)
    assert noting.turns == 2
    assert [one.where for one in summary.first] == ["line 2"]


def test_a_document_written_over_many_lines_is_read_whole(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text(json.dumps(json.loads((DATA / "langfuse.json").read_text())[0], indent=1))
    noting = Noting()
    importing.run([log], "langfuse", importing.told(T, agent=None, scales=()), noting)
    assert noting.turns == 2
    shutil.copy(DATA / "langfuse.json", log)
    importing.run([log], "langfuse", importing.told(T, agent=None, scales=()), noting)
    assert noting.turns == 4
