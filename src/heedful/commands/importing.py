"""Yesterday's logs from files: read piece by piece, and taken in by the server that runs here or by us.

A line is read, understood and handed on before the next few thousand are, so that a log may be larger than the
memory. Only a file that is one JSON document has to be read whole, and so may not be larger than `WHOLE`. What a
line does not give is told at the end, by its number; importing a file again keeps nothing twice.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Any, Protocol

import orjson
from pydantic_core import to_json

from heedful import road
from heedful.client import Call, Client, Patience
from heedful.commands.reaching import ACTOR, reached
from heedful.domain.clock import WallClock
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import AgentId, EpisodeId, TenantId, check_id
from heedful.errors import InvalidInput, TooLarge
from heedful.feedback.formats import genai, langfuse, openai_jsonl, otlp, phoenix
from heedful.feedback.formats.found import MODEL, Found, Problem, Reading, joined
from heedful.feedback.formats.items import Item, gathered, items
from heedful.feedback.formats.spans import Span
from heedful.road import Parts, Taken
from heedful.settings import Settings

WHOLE = 256 * 2**20  # bytes of a file that is one JSON document
LONGEST_LINE = 64 * 2**20
SAMPLE = 2**20  # bytes, to see whether a file is made of lines
LOOKED_AT = 10  # of these lines
RECORDS = 200  # turns in one request to the server
BYTES = 4 * 2**20  # and what these may take
SECONDS = 120.0  # until a server counts as not answering
TOLD = 20  # problems that are told one by one
Lines = Iterator[tuple[str, bytes]]
Progress = Callable[[int], None]  # bytes that were read


@dataclass(slots=True)
class Summary:
    """What became of it."""

    kept: Counter[str] = field(default_factory=lambda: Counter(episodes=0, turns=0, feedback=0))
    duplicates: Counter[str] = field(default_factory=lambda: Counter(episodes=0, turns=0, feedback=0))
    problems: int = 0
    first: list[Problem] = field(default_factory=list)  # those that are told

    def add(self, taken: Taken) -> None:
        self.kept.update(taken.kept)
        self.duplicates.update(taken.duplicates)
        self.problems += len(taken.problems)
        self.first += taken.problems[: TOLD - len(self.first)]

    @property
    def useless(self) -> bool:
        """Nothing of it could be used."""
        return self.problems > 0 and not any((*self.kept.values(), *self.duplicates.values()))

    def plain(self) -> dict[str, Any]:
        return {
            "kept": dict(self.kept),
            "duplicates": dict(self.duplicates),
            "problems": self.problems,
            "first_problems": [{"where": one.where, "reason": one.reason} for one in self.first],
        }


class Taker(Protocol):
    """Whoever keeps what was found: raises `Busy` or `Unavailable` when that cannot be now."""

    def take(self, found: Found) -> Taken: ...


def run(
    files: Sequence[Path],
    format: str,
    reading: Reading,
    taker: Taker,
    *,
    progress: Progress = lambda bytes: None,
) -> Summary:
    """Read all of it, in the order of the files, and hand it on."""
    summary = Summary()
    problems: list[Problem] = []
    for one in together(FORMATS[format](files, reading, problems, progress)):
        summary.add(Taken(kept={}, duplicates={}, problems=tuple(problems)))
        problems.clear()
        for part in pieces(one):
            summary.add(taker.take(part))
    summary.add(Taken(kept={}, duplicates={}, problems=tuple(problems)))
    return summary


def told(tenant: TenantId, *, agent: str | None, scales: Sequence[str]) -> Reading:
    """How to read, as the command's options say it."""
    return Reading(
        tenant=tenant,
        now=WallClock().now(),
        agent=None if agent is None else AgentId(check_id(agent, "agent")),
        scales=dict(_scale(text) for text in scales),
    )


def _scale(text: str) -> tuple[str, tuple[float, float]]:
    name, _, ends = text.rpartition("=")
    low, _, high = ends.partition(":")
    try:
        scale = float(low), float(high)
    except ValueError:
        scale = (0.0, 0.0)
    if not name or not scale[0] < scale[1]:
        raise InvalidInput(f"--scale is {text!r}: it is NAME=LOW:HIGH, such as stars=1:5", field="scale")
    return name, scale


# -- files ---------------------------------------------------------------------------------------------------


def lines(files: Sequence[Path], problems: list[Problem], progress: Progress) -> Lines:
    """Each line with its place, or a whole document as one."""
    for path in files:
        name = f"{path.name}, " if len(files) > 1 else ""
        with _opened(path) as (file, raw):
            yield from _lines(file, raw, path, name, problems, progress)


def _lines(
    file: IO[bytes], raw: IO[bytes], path: Path, name: str, problems: list[Problem], progress: Progress
) -> Lines:
    done = 0

    def tell() -> None:
        nonlocal done
        progress(raw.tell() - done)
        done = raw.tell()

    sample = file.read(SAMPLE)
    file.seek(0)
    if not _of_lines(sample):
        whole = file.read(WHOLE + 1)
        if len(whole) > WHOLE:
            raise TooLarge(
                f"{path} is one JSON document of more than {WHOLE} bytes: make lines of it, as `jq -c '.[]'` does"
            )
        tell()
        yield name.removesuffix(", "), whole
        return
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        where = f"{name}line {number}"
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            tell()
            yield where, line
            continue
        problems.append(Problem(where=where, reason=f"it has more than {LONGEST_LINE} bytes"))
        while (more := file.readline(LONGEST_LINE)) and not more.endswith(b"\n"):
            pass


def _of_lines(sample: bytes) -> bool:
    """Whether these are records line by line, and not one document: that begins with a line that is no record,
    and what follows is indented, or has a comma at its end."""
    first, *rest = [line for line in sample.split(b"\n") if line.strip()] or [b""]
    if not rest and len(sample) == SAMPLE:
        return not first.lstrip().startswith(b"[")
    if _reads(first) or not first.lstrip().startswith((b"[", b"{")):
        return True
    whole = rest[:-1] if len(sample) == SAMPLE else rest  # the last may be cut off
    good = sum(line.startswith(b"{") and _reads(line) for line in whole[:LOOKED_AT])
    return good * 2 > len(whole[:LOOKED_AT])


def _reads(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The text, and the file on the disk by which one sees how far we are."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield (gzip.GzipFile(fileobj=raw) if packed else raw), raw  # type: ignore[misc]
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} does not read: {error}", field="file") from error


def _of_items(read: Callable[[Iterable[Item], Reading], Iterator[Found]]) -> Reader:
    def found(
        files: Sequence[Path], reading: Reading, problems: list[Problem], progress: Progress
    ) -> Iterator[Found]:
        return read(items(lines(files, problems, progress), problems), reading)

    return found


def _otlp(
    files: Sequence[Path], reading: Reading, problems: list[Problem], progress: Progress
) -> Iterator[Found]:
    """Lines of requests, as the Collector's file exporter writes them; or one request, in JSON or protobuf."""
    for spans in gathered(_spans(files, problems, progress)):
        yield genai.read(spans, reading)


def _spans(files: Sequence[Path], problems: list[Problem], progress: Progress) -> Iterator[tuple[Span, int]]:
    for path in files:
        name = f"{path.name}, " if len(files) > 1 else ""
        with _opened(path) as (file, _):
            written = file.read(64).lstrip()[:1] in (b"", b"{", b"[")
        if written:
            for item in items(lines([path], problems, progress), problems):
                yield from _read(partial(otlp.of_json, item.value), name + item.where, item.size, problems)
            continue
        with _opened(path) as (file, raw):
            whole = file.read(WHOLE + 1)
            progress(raw.tell())
        if len(whole) > WHOLE:
            raise TooLarge(f"{path} is one request of more than {WHOLE} bytes")
        yield from _read(partial(otlp.of_protobuf, whole), name or path.name, len(whole), problems)


def _read(
    read: Callable[[], otlp.Read], where: str, size: int, problems: list[Problem]
) -> Iterator[tuple[Span, int]]:
    try:
        spans, bad = read()
    except InvalidInput as error:
        problems.append(Problem(where=where, reason=str(error)))
        return
    problems += [Problem(where=f"{where}, {one.where}", reason=one.reason) for one in bad]
    yield from ((replace(span, where=f"{where}, {span.where}"), size // len(spans)) for span in spans)


Reader = Callable[[Sequence[Path], Reading, list[Problem], Progress], Iterator[Found]]
FORMATS: Mapping[str, Reader] = {
    "openai-jsonl": _of_items(openai_jsonl.read),
    "langfuse": _of_items(langfuse.read),
    "phoenix": _of_items(phoenix.read),
    "otlp": _otlp,
}


# -- who keeps it --------------------------------------------------------------------------------------------


def opened(settings: Settings, tenant: TenantId, key: str | None) -> AbstractContextManager[Taker]:
    """Whatever may write here now."""
    return reached(
        settings,
        key,
        remote=Remote,
        own=lambda parts: Own(parts, tenant),
        seconds=SECONDS,
        patience=Patience(),
    )


class Own:
    """With the owner's lock."""

    def __init__(self, parts: Parts, tenant: TenantId) -> None:
        self._parts = parts
        self._tenant = tenant

    def take(self, found: Found) -> Taken:
        return road.take_in(self._parts, self._tenant, found, actor=ACTOR)


class Remote:
    """Through the server's API: what is the key's tenant's, and what the key may."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def take(self, found: Found) -> Taken:
        call: Call[dict[str, Any]] = Call(
            method="POST",
            path="/v1/episodes/import",
            body={
                "episodes": [_lean(one, "tenant", "purpose", "capture") for one in found.episodes],
                "turns": [_turn(one) for one in found.turns],
                "feedback": [_lean(one, "tenant", "capture") for one in found.feedback],
            },
            read=lambda response: dict(response.json()),
        )
        try:
            said = self._client.send(call)
        except TooLarge as error:
            why = Problem(where=_where(found), reason=str(error))
            return Taken(kept={}, duplicates={}, problems=(*found.problems, why))
        told = [
            Problem(where=found.places.get(one["where"], one["where"]), reason=one["reason"])
            for one in said["problems"]
        ]
        return Taken(kept=said["kept"], duplicates=said["duplicates"], problems=(*found.problems, *told))


class Nobody:
    """Counts, and keeps nothing."""

    def take(self, found: Found) -> Taken:
        kept = {"episodes": len(found.episodes), "turns": len(found.turns), "feedback": len(found.feedback)}
        return Taken(kept=kept, duplicates={}, problems=found.problems)


def together(found: Iterable[Found]) -> Iterator[Found]:
    """The same in fewer: what one line gives is too little for a commit of its own."""
    waiting: list[Found] = []
    records = 0
    for one in found:
        waiting.append(one)
        records += len(one.turns) + len(one.feedback) + len(one.problems)
        if records >= RECORDS:
            yield joined(waiting)
            waiting, records = [], 0
    if waiting:
        yield joined(waiting)


def pieces(found: Found) -> Iterator[Found]:
    """The same in parts that one request can carry, each turn with its episode, feedback behind the turns."""
    episodes = {one.id: one for one in found.episodes}
    begun: set[EpisodeId] = set()
    part: list[Turn] = []
    size = 0
    for turn in found.turns:
        own = len(to_json(turn, inf_nan_mode="strings"))
        if part and (len(part) >= RECORDS or size + own > BYTES):
            yield _part(part, episodes, begun, found)
            part, size = [], 0
        part.append(turn)
        size += own
    if part:
        yield _part(part, episodes, begun, found)
    for start in range(0, len(found.feedback), RECORDS):
        yield Found(feedback=found.feedback[start : start + RECORDS], places=found.places)
    if found.problems:
        yield Found(problems=found.problems)


def _part(
    turns: Sequence[Turn], episodes: Mapping[EpisodeId, Episode], begun: set[EpisodeId], found: Found
) -> Found:
    homes = list(dict.fromkeys(one.episode for one in turns if one.episode not in begun))
    begun.update(homes)
    own = tuple(episodes[id] for id in homes if id in episodes)
    return Found(episodes=own, turns=tuple(turns), places=found.places)


def _where(found: Found) -> str:
    return found.places.get(found.turns[0].id, found.turns[0].id) if found.turns else "a piece of the file"


def _turn(turn: Turn) -> dict[str, Any]:
    """A turn as `TurnImport` has it."""
    fields = _lean(turn, "tenant", "purpose", "policy", "capture")
    metadata = dict(fields.get("metadata", {}))
    return {**fields, "model": metadata.pop(MODEL, "unknown"), "metadata": metadata}


def _lean(record: Episode | Turn | Feedback, *without: str) -> dict[str, Any]:
    """As JSON, without what says nothing."""
    whole = orjson.loads(to_json(record, inf_nan_mode="strings"))
    lean: dict[str, Any] = _without_nothing(whole)
    return {name: value for name, value in lean.items() if name not in without}


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nothing(one) for key, one in value.items() if one not in (None, [], {})}
    if isinstance(value, list):
        return [_without_nothing(one) for one in value]
    return value
