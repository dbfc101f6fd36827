"""Commands as judges, hostile ones above all: each ends in time, says what became of it and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heedful.errors import InvalidInput, Misconfigured, TrainingFailed
from heedful.rewards import sandbox
from heedful.rewards.checks import (
    CompilesCheck,
    ExamCheck,
    LengthCheck,
    LintCheck,
    PatternCheck,
    SchemaCheck,
    judge_of,
)
from heedful.rewards.commands import Command, CommandSettings
from heedful.rewards.sandbox import Ended, SandboxSettings, run

MARK = f"heedful-test-{os.getpid()}"  # in the arguments of every process that a test starts
SECONDS = 5.0
WALLS = [
    pytest.param(
        "full", marks=pytest.mark.skipif(sandbox.trouble() is not None, reason="no user namespaces")
    ),
    "none",
]
FULL = WALLS[:1]
OURS = [
    *(str(Path.cwd() / name) for name in ("src", "tests", "pyproject.toml")),
    str(Path.home() / ".cache"),
    "/etc/shadow",
    "/etc/ssh",
    "/var",
    "/run",
]


@pytest.fixture(params=WALLS)
def limits(request: pytest.FixtureRequest) -> SandboxSettings:
    return SandboxSettings(isolation=request.param, seconds=SECONDS)


@pytest.fixture(params=FULL)
def walled(request: pytest.FixtureRequest) -> SandboxSettings:
    return SandboxSettings(isolation=request.param, seconds=SECONDS)


@pytest.fixture(autouse=True)
def nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No process, and no folder."""
    folders = tmp_path_factory.mktemp("folders")
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    yield
    assert marked() == []
    assert list(folders.iterdir()) == []


def marked() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if MARK in words:
            found.append(words)
    return found


def python(code: str, limits: SandboxSettings, text: str = "") -> Ended:
    began = time.monotonic()
    ended = run([sys.executable, "-I", "-S", "-c", code, MARK], text, limits)
    assert time.monotonic() - began < limits.seconds + 3
    return ended


# -- what is hostile ----------------------------------------------------------------------------------------


def test_one_that_sleeps_for_ever_is_ended_by_the_clock(limits: SandboxSettings) -> None:
    ended = python("import time; time.sleep(1e6)", limits.model_copy(update={"seconds": 1.0}))
    assert ended.stopped == "time"
    assert ended.words == "did not end in time (`seconds`)"


def test_children_that_sleep_end_with_it(limits: SandboxSettings) -> None:
    code = """
import os, sys, time
for new_session in (False, True):
    if os.fork() == 0:
        if new_session: os.setsid()
        if os.fork() == 0: time.sleep(1e6)
        time.sleep(1e6)
print(7)
"""
    ended = python(code, limits)
    assert (ended.code, ended.output) == (0, "7\n")
    assert python(code + "time.sleep(1e6)", limits.model_copy(update={"seconds": 1.0})).stopped == "time"


def test_one_that_cannot_be_stopped_politely_is_ended(limits: SandboxSettings) -> None:
    code = """
import signal, time
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
time.sleep(1e6)
"""
    assert python(code, limits.model_copy(update={"seconds": 1.0})).stopped == "time"


def test_one_that_prints_without_end_is_ended(limits: SandboxSettings) -> None:
    ended = python("import os\nwhile True: os.write(1, b'x' * 1_000_000)", limits)
    assert ended.code != 0
    assert len(ended.output) <= sandbox.TAIL


def test_a_hundred_megabytes_are_fine_where_they_are_allowed(limits: SandboxSettings) -> None:
    code = "for _ in range(100): print('x' * 999_999)\nprint(0.5)"
    assert python(code, limits.model_copy(update={"disk_mb": 200})).output.endswith("x\n0.5\n")


def test_one_that_wants_eight_gigabytes_gets_none(limits: SandboxSettings) -> None:
    ended = python("x = b'x' * (8 << 30)\nprint(1)", limits)
    assert ended.code == 1
    assert ended.words == "ended with status 1: MemoryError"


def test_one_that_computes_for_ever_uses_up_its_time(limits: SandboxSettings) -> None:
    ended = python("while True: pass", limits.model_copy(update={"cpu_seconds": 1}))
    assert ended.words == "used up its processor time (`cpu_seconds`)"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT", "SIGTERM"])
def test_an_end_by_a_signal_is_told(limits: SandboxSettings, name: str) -> None:
    ended = python(f"import os, signal; os.kill(os.getpid(), signal.{name})", limits)
    assert (ended.code, ended.stopped, ended.words) == (None, name, f"was ended by {name}")


def test_no_variable_is_inherited(limits: SandboxSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    ended = python(code, limits.model_copy(update={"environment": {"MODE": "strict"}}))
    found = json.loads(ended.output)
    assert "hush" not in ended.output
    assert found["MODE"] == "strict"
    assert set(found) <= {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "MODE"}


def test_it_works_in_an_empty_folder_of_its_own(limits: SandboxSettings) -> None:
    # Where this Python itself lies below /tmp, the way to it is seen there.
    ways = {
        Path(one).parts[2] for one in (sys.prefix, sys.base_prefix) if Path(one).parts[:2] == ("/", "tmp")
    }
    code = f"import os; print([one for one in os.listdir('.') if one not in {sorted(ways)}], "
    code += "os.getcwd() == os.path.expanduser('~')); open('kept', 'w')"
    for _ in range(2):
        assert python(code, limits).output == "[] True\n"


def test_what_is_written_at_home_is_gone(limits: SandboxSettings) -> None:
    mark = Path.home() / MARK
    python(f"import os; open(os.path.expanduser('~/{MARK}'), 'w').write('x')", limits)
    assert not mark.exists()


def test_a_signal_for_us_leaves_nothing_behind(limits: SandboxSettings, tmp_path: Path) -> None:
    """The process that waits is killed; what it started ends by itself."""
    order = f"""
import sys
from heedful.rewards.sandbox import SandboxSettings, run
limits = SandboxSettings.model_validate_json({limits.model_dump_json()!r})
code = "import os, time; os.fork(); os.setsid() if os.fork() == 0 else 0; time.sleep(1e6)"
run([sys.executable, "-I", "-S", "-c", code, {MARK!r}], "", limits)
"""
    waiting = subprocess.Popen([sys.executable, "-c", order], env={**os.environ, "TMPDIR": str(tmp_path)})
    within(5.0, lambda: sum("time.sleep" in words and "from heedful" not in words for words in marked()) >= 4)
    waiting.send_signal(signal.SIGKILL)
    waiting.wait()
    within(3.0, lambda: not marked())


def within(seconds: float, true: object) -> None:
    assert callable(true)
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


# -- what only walls keep away ------------------------------------------------------------------------------


def test_there_is_no_network_within_walls(walled: SandboxSettings) -> None:
    code = """
import socket
names = [name for _, name in socket.if_nameindex()]
tried = []
for address in (("127.0.0.1", 22), ("1.1.1.1", 80)):
    try: socket.create_connection(address, 2)
    except OSError as error: tried.append(error.errno)
print(names, tried)
"""
    assert python(code, walled).output == "['lo'] [101, 101]\n"


def test_a_listening_process_outside_is_not_reached(walled: SandboxSettings, tmp_path: Path) -> None:
    import socket

    name = f"\0{MARK}"
    with socket.socket(socket.AF_UNIX) as door, socket.create_server(("127.0.0.1", 0)) as port:
        door.bind(name)
        door.listen()
        number = port.getsockname()[1]
        code = f"""
import socket
for family, address in ((socket.AF_UNIX, {name!r}), (socket.AF_INET, ("127.0.0.1", {number}))):
    try: socket.socket(family).connect(address); print("in")
    except OSError: print("out")
"""
        assert python(code, walled).output == "out\nout\n"


def test_files_of_ours_are_not_seen(walled: SandboxSettings, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    code = f"""
import os
print([path for path in {[*OURS, str(tmp_path)]} if os.path.exists(path)])
"""
    assert python(code, walled).output == "[]\n"


def test_no_other_process_is_seen(walled: SandboxSettings) -> None:
    code = "import os; print(sum(name.isdigit() for name in os.listdir('/proc')))"
    assert int(python(code, walled).output) <= 2


def test_what_is_shown_can_be_read_and_not_be_changed(walled: SandboxSettings, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o777)
    (tmp_path / "folder").chmod(0o777)
    (tmp_path / "folder" / "file").write_text("as it was")
    (tmp_path / "folder" / "file").chmod(0o666)
    code = f"""
import ctypes
libc = ctypes.CDLL(None)
print(open("{tmp_path}/folder/file").read())
def write():
    for name in ("file", "other"):
        try: open(f"{tmp_path}/folder/{{name}}", "w"); print("written")
        except OSError as error: print(error.errno)
write()
libc.mount(None, b"{tmp_path}/folder", None, ctypes.c_ulong(0x1020), None)
write()
libc.unshare(0x10020000)  # its own user namespace, in which it is root
clear = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
print(libc.syscall(442, -100, b"{tmp_path}/folder", 0x8000, clear, 32))
libc.mount(None, b"{tmp_path}/folder", None, ctypes.c_ulong(0x1020), None)
write()
"""
    ended = python(code, walled.model_copy(update={"readable": (tmp_path / "folder",)}))
    assert ended.output.splitlines() == ["as it was", *["30"] * 4, "-1", *["30"] * 2]
    assert (tmp_path / "folder" / "file").read_text() == "as it was"


def test_it_has_no_privilege(walled: SandboxSettings) -> None:
    code = """
import os
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(os.getuid(), status["CapEff"], status["CapPrm"], status["NoNewPrivs"])
"""
    assert python(code, walled).output == "1000 0000000000000000 0000000000000000 1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="we are not root")
def test_root_is_not_root_within_walls(walled: SandboxSettings, tmp_path: Path) -> None:
    file = tmp_path / "private"
    file.write_text("hush")
    file.chmod(0o600)
    code = f"""
try: print(open({str(file)!r}).read())
except OSError as error: print(error.errno)
"""
    assert python(code, walled.model_copy(update={"readable": (file,)})).output == "13\n"


def test_its_folder_holds_no_more_than_it_may(walled: SandboxSettings) -> None:
    code = """
try:
    for n in range(100): open(str(n), "wb").write(b"x" * (1 << 20))
except OSError as error: print(n, error.strerror)
"""
    assert python(code, walled.model_copy(update={"disk_mb": 8})).output == "8 No space left on device\n"


def test_it_cannot_have_more_processes_than_it_may(walled: SandboxSettings) -> None:
    code = """
import os, time
n = 0
try:
    while n < 500:
        if os.fork() == 0: time.sleep(1e6)
        n += 1
except OSError: pass
print(n)
"""
    assert int(python(code, walled.model_copy(update={"processes": 20})).output) < 20


def test_a_machine_without_walls_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "trouble", lambda: "unshare: Operation not permitted")
    with pytest.raises(Misconfigured, match=r"unshare: Operation not permitted.*isolation: none"):
        Command(CommandSettings(command=("true",)), Path(), SandboxSettings())
    Command(CommandSettings(command=("true",)), Path(), SandboxSettings(isolation="none"))


# -- commands as judges -------------------------------------------------------------------------------------


def judged(
    code: str, limits: SandboxSettings, answers: list[str], folder: Path, **rest: object
) -> list[float]:
    (folder / "judge.py").write_text(code)
    settings = CommandSettings.model_validate({"command": ["python", "./judge.py", MARK], **rest})
    columns = {"limit": list(range(len(answers)))}
    scores = Command(settings, folder, limits).score(["why?"] * len(answers), answers, columns)
    return [float(v) if not u else -1.0 for v, u in zip(scores["quality"], scores["unscored"], strict=True)]


def test_the_last_line_is_the_score(limits: SandboxSettings, tmp_path: Path) -> None:
    code = """
import json, sys
asked = json.load(sys.stdin)
assert asked["prompt"] == "why?"
print("so it is")
print("null" if asked["answer"] == "" else len(asked["answer"]) + asked["columns"]["limit"])
"""
    assert judged(code, limits, ["abc", "", "ä\n\ud83d\ude00"], tmp_path) == [3.0, -1.0, 5.0]


def test_the_status_is_the_score(limits: SandboxSettings, tmp_path: Path) -> None:
    code = "import json, sys; sys.exit('x' in json.load(sys.stdin)['answer'])"
    assert judged(code, limits, ["a", "x", "b"], tmp_path, score="exit") == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('nan')", "its last line is 'nan', not a finite number"),
        ("print('1e999')", "its last line is '1e999', not a finite number"),
        ("print('good')", "its last line is 'good', not a number"),
        ("", "its last line is '', not a number"),
        ("print(1); raise SystemExit(3)", "it ended with status 3: 1"),
        ("import os; os.abort()", "it was ended by SIGABRT"),
    ],
)
def test_no_number_is_an_error_or_what_it_is_worth(
    limits: SandboxSettings, tmp_path: Path, code: str, words: str
) -> None:
    with pytest.raises(TrainingFailed, match=f"command 'python' has no score for answer 1: {words}"):
        judged(code, limits, ["a"], tmp_path)
    assert judged(code, limits, ["a"], tmp_path, failed=-2) == [-2.0]


def test_a_command_that_is_not_there_is_an_error_whatever_failures_are_worth(limits: SandboxSettings) -> None:
    settings = CommandSettings(command=("no-such-command",), failed=0.0)
    with pytest.raises(Misconfigured, match="no-such-command cannot be started: No such file"):
        Command(settings, Path(), limits).score(["p"], ["a"])


def test_a_judge_that_does_not_read_is_not_waited_for(limits: SandboxSettings, tmp_path: Path) -> None:
    assert judged("print(1)", limits, ["x" * 5_000_000], tmp_path) == [1.0]


def test_some_run_side_by_side(limits: SandboxSettings, tmp_path: Path) -> None:
    began = time.monotonic()
    four = limits.model_copy(update={"parallel": 4})
    assert judged("import time; time.sleep(1); print(1)", four, ["a"] * 8, tmp_path) == [1.0] * 8
    assert time.monotonic() - began < 6


# -- ready-made checks --------------------------------------------------------------------------------------

CODE = "Here it is:\n\n```python\ndef double(x):\n    return 2 * x\n```\n\nand\n\n```text\nnot python\n```\n"
EXAM = """
import pytest
from answer import double

@pytest.mark.parametrize("x", [0, 1, 2, 3])
def test_double(x): assert double(x) == 2 * x
"""


def checked(check: object, limits: SandboxSettings, *answers: str, folder: Path = Path()) -> list[float]:
    judge = judge_of(check, folder, limits)  # type: ignore[arg-type]
    return [float(one) for one in judge.score([""] * len(answers), answers)["quality"]]


def test_an_answer_has_the_shape(limits: SandboxSettings, tmp_path: Path) -> None:
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    (tmp_path / "shape.json").write_text(json.dumps(shape))
    answers = (
        '{"n": 1}',
        'So:\n```json\n{"n": 2}\n```',
        '{"n": "1"}',
        "{}",
        "n = 1",
        '{"n": NaN}',
        "[" * 100_000,
    )
    for given in (shape, Path("shape.json")):
        check = SchemaCheck(check="schema", shape=given)
        assert checked(check, limits, *answers, folder=tmp_path) == [1, 1, 0, 0, 0, 0, 0]


def test_a_shape_that_is_none_is_refused(limits: SandboxSettings, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no JSON Schema"):
        checked(SchemaCheck(check="schema", shape={"type": "thing"}), limits)
    with pytest.raises(InvalidInput, match="cannot be read"):
        checked(SchemaCheck(check="schema", shape=Path("nowhere.json")), limits, folder=tmp_path)
    with pytest.raises(InvalidInput, match="points at what is not in it"):
        checked(SchemaCheck(check="schema", shape={"$ref": "http://127.0.0.1:9/x.json"}), limits, "{}")


def test_an_expression_is_there_or_not(limits: SandboxSettings) -> None:
    check = PatternCheck(check="pattern", pattern=r"\bsorry\b")
    assert checked(check, limits, "so sorry!", "sorrysome") == [1, 0]
    assert checked(check.model_copy(update={"absent": True}), limits, "so sorry!", "sorrysome") == [0, 1]
    with pytest.raises(InvalidInput, match="no regular expression"):
        checked(PatternCheck(check="pattern", pattern="("), limits)


def test_an_answer_is_as_long_as_it_may_be(limits: SandboxSettings) -> None:
    assert checked(LengthCheck(check="length", shortest=1, longest=2), limits, "", "a b", "a b c") == [
        0,
        1,
        0,
    ]
    lines = LengthCheck(check="length", of="lines", longest=1)
    assert checked(lines, limits, "a b", "a\nb") == [1, 0]
    with pytest.raises(ValueError, match="below shortest"):
        LengthCheck(check="length", shortest=3, longest=2)


def test_code_compiles(limits: SandboxSettings) -> None:
    deep = "(" * 100_000 + "-" * 1_000_000 + "1"
    answers = (CODE, "x = 1", "def (", "```\nx = 1\n```", "", "```text\nx\n```", deep, "x = '\0'")
    assert checked(CompilesCheck(check="compiles"), limits, *answers) == [1, 1, 0, 1, 0, 0, 0, 0]


def test_code_is_clean(limits: SandboxSettings) -> None:
    assert checked(LintCheck(check="lint"), limits, CODE, "import os\n", "def (") == [1, 0, 0]
    assert checked(LintCheck(check="lint", select=("E7",)), limits, "import os\n", "l = 1\n") == [1, 0]
    with pytest.raises(Misconfigured, match="ruff cannot check"):
        checked(LintCheck(check="lint", select=("no-rule",)), limits, CODE)


def test_code_passes_its_tests(limits: SandboxSettings, tmp_path: Path) -> None:
    (tmp_path / "exam.py").write_text(EXAM)
    own = limits.model_copy(update={"seconds": 20.0})
    half = "def double(x):\n    return 2 * x if x < 2 else 0"
    answers = (
        CODE,
        half,
        "def double(x):",
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "def double(x):\n    import os; os._exit(0)",
        "def double(x):\n    import pytest; pytest.skip('no')",
    )
    check = ExamCheck(check="tests", file=Path("exam.py"))
    assert checked(check, own, *answers, folder=tmp_path) == [1, 0.5, 0, 0, 0, 0, 0]


def test_tests_without_pytest_are_refused_before_any_answer(
    limits: SandboxSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match="needs pytest"):
        judge_of(ExamCheck(check="tests", file=Path("exam.py")), Path(), limits)


def test_code_that_never_ends_passes_nothing(limits: SandboxSettings, tmp_path: Path) -> None:
    (tmp_path / "exam.py").write_text(EXAM)
    check = ExamCheck(check="tests", file=Path("exam.py"))
    endless = f"while True: '{MARK}'"
    assert checked(check, limits.model_copy(update={"seconds": 2.0}), endless, folder=tmp_path) == [0]
