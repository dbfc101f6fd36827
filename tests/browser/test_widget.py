"""The widget in a real browser, in a page of another origin than the server's."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi import FastAPI

from heedful.domain.access import OPERATOR, Scope
from heedful.domain.feedback import Correction, Feedback, Rating, Source, Thumbs
from heedful.road import Parts
from heedful.service.pages.widget import SCRIPT
from service.conftest import KeyFor, asked, local, released
from serving import free_port, serving


class Shop:
    """A web page of somebody else, on a port of its own."""

    def __init__(self, port: int) -> None:
        self.body = ""
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                # As strict as a careful shop's: scripts and requests to one other server, no inline styles.
                self.send_header("content-security-policy", shop.policy)
                self.end_headers()
                self.wfile.write(f"<!doctype html><title>Shop</title>{shop.body}".encode())

            def log_message(self, *_: object) -> None:
                return None

        self.policy = "default-src 'none'"
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def url(self, host: str = "localhost") -> str:
        return f"http://{host}:{self.server.server_port}"


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop(0)
    thread = threading.Thread(target=shop.server.serve_forever)
    thread.start()
    yield shop
    shop.server.shutdown()
    thread.join()
    shop.server.server_close()


@pytest.fixture
def turn(app: FastAPI) -> str:
    with local(app) as http:
        released(http, "resolver", "echo")
        return str(asked(http)["id"])


Open = Callable[..., Any]


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    port = free_port()
    with serving(app, port) as url:
        yield url


@pytest.fixture
def open_page(browser: Any, shop: Shop, address: str, key_for: KeyFor, turn: str) -> Iterator[Open]:
    """`open_page("thumbs")` is a page with the widget in it; `page.requests` is what it asked for."""
    key = key_for(Scope.WIDGET, origin=shop.url())
    context = browser.new_context()

    def opened(ask: str, *, host: str = "localhost", about: str = turn, body: str = "") -> Any:
        shop.policy = f"default-src 'none'; script-src {address} 'nonce-x'; connect-src {address}"
        data = f'data-key="{key}" data-turn="{html.escape(about)}" data-ask="{ask}"'
        shop.body = f'<main></main><script src="{address}/widget.js" {data} defer></script>{body}'
        page = context.new_page()
        page.seen = []
        page.errors = []
        page.on("request", lambda request: page.seen.append((request.method, request.url)))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(shop.url(host))
        return page

    yield opened
    context.close()


def said(parts: Parts) -> list[Feedback]:
    return list(parts.store.find(Feedback, OPERATOR))


def thanked(page: Any) -> None:
    page.get_by_role("status").get_by_text("Thank you.").wait_for()


def test_the_script_is_small_and_public(app: FastAPI) -> None:
    got = local(app).get("/widget.js")
    assert got.status_code == 200
    assert got.headers["content-type"].startswith("text/javascript")
    assert "max-age" in got.headers["cache-control"]
    assert got.content == SCRIPT
    assert len(SCRIPT) < 8192
    again = local(app).get("/widget.js", headers={"if-none-match": got.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_thumb_is_kept_once_however_often_it_is_clicked(
    open_page: Open, parts: Parts, turn: str, shop: Shop, address: str
) -> None:
    page = open_page("thumbs")
    up = page.get_by_role("button", name="Good answer")
    up.dblclick()
    thanked(page)
    up.click(force=True)
    page.get_by_role("button", name="Bad answer").click(force=True)
    page.wait_for_timeout(200)
    (one,) = said(parts)
    assert (one.said, one.turn, one.source) == (Thumbs(up=True), turn, Source.DIRECT)
    assert up.get_attribute("aria-pressed") == "true"
    posts = [url for method, url in page.seen if method == "POST"]
    assert posts == [f"{address}/v1/feedback"]
    assert {url for _, url in page.seen} <= {
        f"{shop.url()}/",
        f"{address}/widget.js",
        *posts,
        f"{shop.url()}/favicon.ico",
    }
    assert page.context.cookies() == []
    assert page.evaluate("Object.keys(localStorage).length") == 0
    assert page.errors == []


def test_stars_work_by_keyboard_alone(open_page: Open, parts: Parts) -> None:
    page = open_page("stars")
    page.get_by_role("button", name="1 of 5 stars").wait_for()
    for _ in range(4):
        page.keyboard.press("Tab")
    focused = page.evaluate("document.querySelector('div div').shadowRoot.activeElement.ariaLabel")
    assert focused == "4 of 5 stars"
    page.keyboard.press("Enter")
    thanked(page)
    assert [one.said for one in said(parts)] == [Rating(value=4)]


def test_a_correction_is_text_whatever_is_in_it(open_page: Open, parts: Parts) -> None:
    hostile = "</textarea><img src=x onerror=alert(1)>\u202e\n{{7*7}}"
    page = open_page("thumbs correction")
    page.get_by_role("button", name="Suggest a better answer").click()
    page.get_by_role("button", name="Send").click()  # empty: the browser asks for a text
    page.get_by_label("What should the answer have been?").fill(hostile)
    page.get_by_role("button", name="Send").click()
    thanked(page)
    assert [one.said for one in said(parts)] == [Correction(text=hostile)]
    assert page.errors == []


def test_a_page_of_another_origin_is_refused_and_says_so(open_page: Open, parts: Parts) -> None:
    page = open_page("thumbs", host="127.0.0.1")
    page.get_by_role("button", name="Good answer").click()
    page.get_by_role("status").get_by_text("This was not accepted.").wait_for()
    assert said(parts) == []


def test_a_turn_that_is_not_there_is_not_accepted(open_page: Open, parts: Parts) -> None:
    page = open_page("thumbs", about='"><script>alert(1)</script>')
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("status").get_by_text("This was not accepted.").wait_for()
    assert page.locator("script").count() == 1
    assert said(parts) == []


def test_what_could_not_be_sent_is_sent_again_with_the_same_id(open_page: Open, parts: Parts) -> None:
    page = open_page("thumbs")
    bodies: list[str] = []

    def lost(route: Any) -> None:
        """The first answer is lost on its way back."""
        if route.request.method == "POST":
            bodies.append(route.request.post_data)
            if len(bodies) == 1:
                route.fetch()
                route.abort()
                return
        route.continue_()

    page.route("**/v1/feedback", lost)
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("button", name="Try again").click()
    thanked(page)
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert [one.said for one in said(parts)] == [Thumbs(up=False)]


def test_one_page_may_have_many_turns(open_page: Open, parts: Parts, turn: str) -> None:
    page = open_page("thumbs", body="<script nonce=x></script>")
    page.evaluate(
        """turn => { for (const by of ['ada', 'bob'])
            Heedful.attach(document.querySelector('main'), {turn, ask: 'stars', by, words: {star: by + ' {n}'}}) }""",
        turn,
    )
    page.get_by_role("button", name="bob 2").click()
    thanked(page)
    assert [(one.by, one.said) for one in said(parts)] == [("bob", Rating(value=2))]
    assert "needs a turn and a key" in page.evaluate(
        "try { Heedful.attach(document.body, {turn: ''}) } catch (error) { error.message }"
    )
