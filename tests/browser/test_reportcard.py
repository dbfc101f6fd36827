"""The report card's page in a real browser: it stands alone, and is read by day, by night and on a telephone."""

from __future__ import annotations

from typing import Any, Literal

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from heedful.commands import examining, reportcard
from heedful.lm.records import write_records

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("card")
    (root / "model").mkdir()
    (root / "model" / "reward.json").write_text("{}")
    pairs = [
        {
            "prompt": f"how is it, {n}?",
            "chosen": f"{n}. All is good.",
            "rejected": f"{n}. All is bad, and it is long.",
            "product": "a-product-with-a-name-that-goes-on-and-on" if n % 4 else "bank",
            "votes": [2, n % 2],
            "subset": "mt-bench-easy",
        }
        for n in range(40)
    ]
    answers = [{"prompt": "how is it?", "answer": "good" * n, "score": n} for n in range(9)]
    write_records(root / "data.jsonl", [*pairs, *answers])
    card = examining.run(
        {
            "model": root / "model",
            "data": root / "data.jsonl",
            "loader": "judges:likes_length",
            "slices": ["product"],
            "explained": 2,
        }
    )
    file = root / "card.html"
    file.write_text(reportcard.page(card), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_and_asks_nobody(
    browser: Any, page: str, scheme: Literal["light", "dark"], dark: bool, width: int
) -> None:
    view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.goto(page)
    assert asked == [page]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    (red, *_) = view.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red < 128) is dark
    assert view.locator("h1").inner_text().endswith("did not pass")
    assert view.locator("svg.diagram circle").count() >= 1
    for title in (
        "Bounds",
        "For whom it is right",
        "Does it fall for style?",
        "Benchmark",
        "Where it was most wrong",
    ):
        assert view.get_by_role("heading", name=title).is_visible()
    view.close()
