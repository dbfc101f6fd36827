"""A run: what went in is written down before, what came out after, and asking again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from factories import NOW, TENANT, make_policy, make_reward_model
from heedful.blobs.directory import DirectoryBlobs
from heedful.domain.clock import SetClock
from heedful.domain.ids import Digest, RunId
from heedful.domain.models import Run, RunState
from heedful.engine.protocol import Progress
from heedful.errors import Conflict, TrainingFailed
from heedful.registry import runs, versions
from heedful.store.sql import SqlStore, open_store
from heedful.tracking.files import FilesTracking, read_curves

ID = RunId("cycle.fit")
Task = Callable[[Mapping[str, Any], Path], dict[str, Any]]


class HereEngine:
    """Runs a function of this process: the shortest engine."""

    def __init__(self, root: Path, task: Task) -> None:
        self._root = root
        self.task = task
        self.asked: list[Mapping[str, Any]] = []

    def work(self, run: RunId) -> Path:
        return self._root / run

    def run(
        self, task: str, spec: Mapping[str, Any], *, run: RunId, progress: Progress | None = None
    ) -> dict[str, Any]:
        self.asked.append(spec)
        if progress is not None:
            progress(1, {"loss": 0.5})
        return self.task(spec, self.work(run))

    def close(self) -> None:
        return None


class Bench:
    """One tenant's store, blobs and an engine."""

    def __init__(self, root: Path, store: SqlStore, task: Task) -> None:
        self.store = store
        self.blobs = DirectoryBlobs(root / "blobs")
        self.engine = HereEngine(root / "runs", task)
        self.tracking = FilesTracking(root / "tracking")
        self._root = root

    def _weights(self, name: str) -> Digest:
        (self._root / name).mkdir(exist_ok=True)
        (self._root / name / "weights").write_text(name)
        return Digest(self.blobs.put_tree(self._root / name))

    def execute(
        self,
        rows: str = "rows",
        *,
        task: str = "tasks:fit",
        base: str = "w0",
        id: RunId = ID,
        **settings: Any,
    ) -> Run:
        return runs.execute(
            task,
            lambda at: {"rows": at["rows"], "model": at["model"], "rate": 0.1} | settings,
            id=id,
            tenant=TENANT,
            files={"rows": Digest(self.blobs.put_bytes(rows.encode()))},
            trees={"model": self._weights(base)},
            store=self.store,
            blobs=self.blobs,
            engine=self.engine,
            tracking=self.tracking,
            clock=SetClock(NOW),
        )

    def recorded(self) -> Run | None:
        return self.store.get(Run, TENANT, ID)


def fit(spec: Mapping[str, Any], work: Path) -> dict[str, Any]:
    (work / "model").mkdir()
    (work / "model" / "weights").write_text(
        f"{Path(spec['model'], 'weights').read_text()} + {Path(spec['rows']).read_text()}"
    )
    (work / "curve.jsonl").write_text("{}\n")
    return {
        "model": str(work / "model"),
        "curve": str(work / "curve.jsonl"),
        "lost": str(work / "never written"),
        "steps": 3,
        "report": {"quality": {"accuracy": 0.75}},
        "note": "words are no figures",
    }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}")
    yield Bench(tmp_path, store, fit)
    store.close()


def test_outputs_are_kept_in_the_blobs_and_numbers_are_figures(bench: Bench, tmp_path: Path) -> None:
    run = bench.execute()
    assert run == bench.recorded()
    assert (run.state, run.ended_at, run.error) == (RunState.DONE, NOW, None)
    assert run.figures == {"steps": 3.0, "report.quality.accuracy": 0.75}
    assert (set(run.inputs), set(run.outputs)) == ({"rows", "model"}, {"model", "curve"})
    bench.blobs.materialise(run.outputs["model"], tmp_path / "out")
    assert (tmp_path / "out" / "weights").read_text() == "w0 + rows"
    assert bench.blobs.get_bytes(run.outputs["curve"]) == b"{}\n"


def test_what_a_task_tracks_is_kept_as_curves(bench: Bench, tmp_path: Path) -> None:
    bench.execute()
    kept = tmp_path / "tracking" / ID
    assert read_curves(kept) == {"loss": ((1, 0.5),)}
    assert (kept / "curves.png").exists()


def test_a_finished_run_is_handed_back_as_it_was(bench: Bench) -> None:
    bench.execute(layers=(1, 2))
    assert bench.execute("rows that came later", layers=(1, 2)) == bench.recorded()
    assert len(bench.engine.asked) == 1


def test_a_finished_run_is_the_same_run_after_its_house_has_moved(bench: Bench, tmp_path: Path) -> None:
    first = bench.execute()
    bench.engine = HereEngine(tmp_path / "elsewhere", fit)
    assert bench.execute() == first
    assert bench.engine.asked == []


@pytest.mark.parametrize(
    ("again", "begun", "asked"),
    [
        ({"task": "tasks:other"}, "tasks:fit", "tasks:other"),
        ({"rate": 0.2}, "tasks:fit (rate: 0.1)", "tasks:fit (rate: 0.2)"),
        ({"steps": 5}, "tasks:fit (steps: unset)", "tasks:fit (steps: 5)"),
        ({"base": "w1"}, 'tasks:fit (weights of model: "sha256:', 'tasks:fit (weights of model: "sha256:'),
    ],
)
@pytest.mark.parametrize("outcome", [RunState.DONE, RunState.RUNNING, RunState.FAILED])
def test_another_order_under_a_known_name_is_refused_and_both_are_named(
    bench: Bench, again: dict[str, Any], begun: str, asked: str, outcome: RunState
) -> None:
    def end(spec: Mapping[str, Any], work: Path) -> dict[str, Any]:
        if outcome is RunState.DONE:
            return fit(spec, work)
        raise TrainingFailed("no memory") if outcome is RunState.FAILED else SystemExit

    bench.engine.task = end
    with suppress(TrainingFailed, SystemExit):
        bench.execute()
    before = bench.recorded()
    assert before is not None
    assert before.state is outcome
    with pytest.raises(Conflict) as refused:
        bench.execute(**again)
    assert f"run 'cycle.fit' is {begun}" in str(refused.value)
    assert f"is asked for again as {asked}" in str(refused.value)
    assert bench.recorded() == before
    assert len(bench.engine.asked) == 1


def test_a_run_with_a_long_name_is_tracked_under_a_short_one_of_its_own(bench: Bench, tmp_path: Path) -> None:
    for step in ("fit", "improve"):
        bench.execute(id=RunId(f"acme/{'nightly-' * 16}.{step}"))
    kept = list((tmp_path / "tracking").iterdir())
    assert len(kept) == 2
    assert all(place.name.startswith("acme-nightly-nightly") for place in kept)


def test_a_run_that_was_cut_off_goes_on_with_what_it_began_with(bench: Bench, tmp_path: Path) -> None:
    def cut_off(spec: Mapping[str, Any], work: Path) -> dict[str, Any]:
        raise SystemExit

    bench.engine.task = cut_off
    with pytest.raises(SystemExit):
        bench.execute("rows of monday")
    begun = bench.recorded()
    assert begun is not None
    assert (begun.state, begun.spec["rate"]) == (RunState.RUNNING, 0.1)

    bench.engine.task = fit
    run = bench.execute("rows of tuesday")
    assert bench.engine.asked[0] == bench.engine.asked[1] == run.spec
    assert (run.inputs, run.spec) == (begun.inputs, begun.spec)
    bench.blobs.materialise(run.outputs["model"], tmp_path / "out")
    assert (tmp_path / "out" / "weights").read_text() == "w0 + rows of monday"


def test_a_run_that_fails_says_why_and_may_be_tried_again(bench: Bench) -> None:
    def fail(spec: Mapping[str, Any], work: Path) -> dict[str, Any]:
        raise TrainingFailed("the loss is not a number")

    bench.engine.task = fail
    for _ in range(2):
        with pytest.raises(TrainingFailed):
            bench.execute()
        failed = bench.recorded()
        assert failed is not None
        assert (failed.state, failed.error) == (RunState.FAILED, "the loss is not a number")
    bench.engine.task = fit
    assert bench.execute().state is RunState.DONE


def test_versions_count_up_from_the_highest() -> None:
    assert versions.next_version([]) == 1
    assert versions.next_version([make_policy(version=4), make_policy(version=2)]) == 5
    assert versions.next_version([make_reward_model(version=1)]) == 2
