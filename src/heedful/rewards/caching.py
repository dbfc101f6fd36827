"""Scores that were computed before: kept in one file, by model and by sample, so that asking twice costs once.

The file never holds more than `most` samples; what was asked for longest ago goes first. It is a cache: when
it is lost, scores are computed again, and nothing else depends on it. Several processes may share it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from heedful.errors import InvalidInput
from heedful.lm import digests
from heedful.rewards.judge import Floats, Judge, Prompt

MOST = 1_000_000
AT_ONCE = 500  # samples in one question to the file
ROOM = 0.9  # how full it is after the oldest have gone
WAIT = 30.0  # seconds for another process to finish its write
SCHEMA = """
create table if not exists scores (
    model text not null, sample blob not null, said text not null, used integer not null,
    primary key (model, sample)
) without rowid;
create index if not exists scores_used on scores (used);
"""


class Cached:
    """A judge that remembers. `digest` names the model: the same one must always mean the same scores."""

    def __init__(self, judge: Judge, digest: str, file: Path, *, most: int = MOST) -> None:
        if most < 1:
            raise InvalidInput(f"a cache of {most} samples keeps nothing: 1 or more", field="most")
        self._judge, self._digest, self._file, self._most = judge, digest, file, most
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as base:
            base.executescript(SCHEMA)

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Mapping[str, Floats]:
        """As the judge would; only what is new is asked of it, and each sample once."""
        if len(prompts) != len(answers):
            raise InvalidInput(
                f"{len(prompts)} prompts for {len(answers)} answers: give one prompt per answer"
            )
        if not answers:
            return self._judge.score(prompts, answers)
        keys = [digests.of_text(*sample) for sample in zip(prompts, answers, strict=True)]
        known = self._known(list(dict.fromkeys(keys)))
        new = {key: place for place, key in enumerate(keys) if key not in known}
        if new:
            places = list(new.values())
            said = self._judge.score([prompts[one] for one in places], [answers[one] for one in places])
            fresh = {
                key: {name: float(values[row]) for name, values in said.items()}
                for row, key in enumerate(new)
            }
            self._keep(fresh)
            known |= fresh
        return {name: np.array([known[key][name] for key in keys]) for name in known[keys[0]]}

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, dict[str, float]]:
        found: dict[bytes, dict[str, float]] = {}
        with self._open() as base:
            now = self._now(base)
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                among = f"model = ? and sample in ({', '.join('?' * len(some))})"
                rows = base.execute(f"select sample, said from scores where {among}", (self._digest, *some))
                found |= {sample: json.loads(said) for sample, said in rows.fetchall()}
                base.execute(f"update scores set used = ? where {among}", (now, self._digest, *some))
        return found

    def _keep(self, fresh: Mapping[bytes, Mapping[str, float]]) -> None:
        with self._open() as base:
            now = self._now(base)
            base.executemany(
                "insert or replace into scores values (?, ?, ?, ?)",
                [(self._digest, key, json.dumps(said), now) for key, said in fresh.items()],
            )
            (held,) = base.execute("select count(*) from scores").fetchone()
            if held > self._most:
                base.execute(
                    "delete from scores where (model, sample) in "
                    "(select model, sample from scores order by used, sample limit ?)",
                    (held - max(1, int(self._most * ROOM)),),
                )

    @staticmethod
    def _now(base: sqlite3.Connection) -> int:
        """One more than any time before: a count, because clocks go backwards."""
        (latest,) = base.execute("select max(used) from scores").fetchone()
        return int(latest or 0) + 1

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """For one transaction."""
        try:
            with (
                closing(sqlite3.connect(self._file, timeout=WAIT, isolation_level="IMMEDIATE")) as base,
                base,
            ):
                yield base
        except sqlite3.Error as error:
            raise InvalidInput(
                f"{str(self._file)!r} cannot be used as a cache of scores: {error}. Delete it, or name another"
            ) from error
