"""What no honest client sends, to every address: a clear refusal in the one shape, and never a failure of ours."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from heedful.road import Parts
from heedful.service.api import ROUTES, build
from heedful.service.gateway import INSIDE
from heedful.service.pages import openapi
from heedful.settings import ServerSettings, Settings
from heedful.wire import ErrorBody
from parts import make_parts

from .conftest import QuietLoop, asked, local, released

FAST = Settings(server=ServerSettings(requests_per_second=1e6))
JSON = "application/json"
POSTS = [
    *(route.path.replace(":path}", "}") for route in ROUTES if route.method == "POST"),
    *(one.path for one in openapi.operations(INSIDE) if one.method == "post"),
]
GETS = [
    *(route.path.replace(":path}", "}") for route in ROUTES if route.method == "GET"),
    *(one.path for one in openapi.operations(INSIDE) if one.method == "get"),
]


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "blank": b" \n\t ",
    "null": b"null",
    "true": b"true",
    "a text": b'"x"',
    "an empty list": b"[]",
    "a list of lists": b"[[],[[]]]",
    "an empty object": b"{}",
    "two objects": b"{}{}",
    "a comment": b"{/* x */}",
    "single quotes": b"{'id':'x'}",
    "a comma too many": b'{"id":"x",}',
    "a key twice": b'{"id":"a","id":"b","name":1,"name":"c"}',
    "a key that is empty": b'{"":""}',
    "NaN": b'{"confidence":NaN}',
    "infinity": b'{"confidence":-Infinity}',
    "a number beyond doubles": b'{"confidence":1e400,"limit":1e400}',
    "a number of ten thousand digits": b'{"limit":' + b"9" * 10_000 + b"}",
    "a number beyond 64 bits": b'{"limit":18446744073709551616,"seed":-9223372036854775809}',
    "a number that is nearly nothing": b'{"confidence":1e-400}',
    "a NUL": b'{"id":"a\\u0000b"}',
    "a raw NUL": b'{"id":"a\0b"}',
    "a NUL for a key": b'{"\\u0000":1}',
    "half a surrogate pair": b'{"id":"\\ud800"}',
    "a surrogate pair backwards": b'{"id":"\\udc00\\ud800"}',
    "half a surrogate pair for a key": b'{"\\udfff":1}',
    "an escape that there is not": b'{"id":"\\x41"}',
    "broken UTF-8": b'{"id":"\xc3\x28"}',
    "overlong UTF-8": b'{"id":"\xc0\xaf"}',
    "UTF-16": '{"id":"x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"id":"x"}',
    "63 levels": nested(63),
    "65 levels": nested(65),
    "a hundred thousand levels": nested(100_000),
    "lists without end": b"[" * 200_000,
    "a long id": b'{"id":"' + b"x" * 1_000_000 + b'"}',
    "a long key": b'{"' + b"k" * 1_000_000 + b'":1}',
    "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}",
    "many pieces": b"[" + b",".join([b"{}"] * 1001) + b"]",
    "names of Python's": b'{"__class__":{"__init__":1},"__proto__":{},"constructor":{"prototype":{}}}',
    "a template": b'{"name":"{{7*7}}${7*7}#{7*7}%s%n","id":"../../etc/passwd"}',
    "a page": b'{"name":"<script>alert(1)</script>","id":"\'; DROP TABLE turn;--"}',
    "turned around": '{"name":"\u202e\u2066\u200f\ufeff\ufffe"}'.encode(),
}
TYPES = [
    *("", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"),
    *("application/json; charset=utf-16", "application/json;;;=", "application/jsonp", "*/*", "json"),
    *("application/json, text/plain", "APPLICATION/JSON", 'application/json; x="', "\x7f"),
]
PLACES = [
    *("%00", "a%00b", "%ff", "%c3%28", "%", "%z", "%2", "%25", "%0d%0aset-cookie:x=1", "..", "%2e%2e"),
    *("..%2f..%2fetc%2fpasswd", "%2f", "//", ".", "-", "_x", "%20", "%E2%80%AE", "%F0%9F%98%80"),
    *("x" * 129, "x" * 5_000, "a;b", "a%3Fb", "a%23b", "*", "'", "%22", "null", "undefined", "{id}"),
]
QUERIES = [
    *("", "nothing=known", "limit", "limit=", "limit=0", "limit=-1", "limit=1e3", "limit=1.5", "limit=%00"),
    *("limit=99999999999999999999999", "limit=1&limit=x", "limit=%D9%A3", "limit[]=1", "agent=%ff"),
    *("agent=%00", "agent=..%2f", "queue=", "queue=a&queue=b", "state=OPEN", "&&&", "=", "%", "a=%zz"),
    *("limit=5#x", "limit=" + "9" * 5_000, "after=-1", "after=99999999999999999999"),
]

HEADERS = [
    *("x-request-id", "x-heedful-turn", "x-heedful-episode", "x-heedful-user", "x-heedful-segment"),
    *("x-heedful-parent", "x-heedful-language", "x-stainless-retry-count", "accept", "origin", "cookie"),
    *("content-encoding", "accept-encoding", "if-none-match", "range", "authorization", "idempotency-key"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    made = make_parts(tmp_path_factory.mktemp("house"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def http(parts: Parts) -> Iterator[TestClient]:
    with local(build(parts, QuietLoop(parts), FAST)) as client:
        released(client, "resolver", "echo")
        asked(client, heedful={"turn": "turn_1", "episode": "episode_1"})
        yield client


@pytest.fixture(scope="module")
def document(http: TestClient) -> Any:
    return http.get("/openapi.json").json()["paths"]


def at(path: str, id: str = "x") -> str:
    """The address with something in its gaps."""
    return re.sub(r"\{\w+\}", id, path)


def check(answer: Any, said: Mapping[str, Any]) -> None:
    """It went well, or it was refused in our one shape; and the document knows of it."""
    assert answer.status_code < 500, answer.text
    assert str(answer.status_code) in said or (400 <= answer.status_code < 500 and "4XX" in said), answer.text
    if answer.status_code >= 400:
        refused(answer)


def refused(answer: Any) -> None:
    assert answer.headers["content-type"] == JSON
    error = ErrorBody.model_validate_json(answer.content).error
    assert error.message
    assert len(answer.content) < 4_000  # what came is not sent back whole


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_nobody_should_send(http: TestClient, document: Any, body: bytes) -> None:
    for path in POSTS:
        answer = http.post(at(path), content=body, headers={"content-type": JSON})
        check(answer, document[path]["post"]["responses"])


def test_a_million_wrong_things_are_not_all_looked_at(http: TestClient) -> None:
    chat = {"model": "resolver", "messages": [1] * 300_000}
    assert http.post("/v1/chat/completions", json=chat).json()["error"]["param"] == "messages.0"
    said = {"form": "choice", "shown": [1] * 300_000, "chosen": None}
    answer = http.post("/v1/feedback", json={"turn": "turn_1", "said": said})
    assert answer.status_code == 422
    assert "300000 things" in answer.json()["error"]["message"]


@pytest.mark.parametrize("type", TYPES)
def test_a_content_type_that_is_not_json(http: TestClient, document: Any, type: str) -> None:
    for path in POSTS:
        headers = {"content-type": type} if type else {}
        answer = http.post(at(path), content=b'{"name":"x"}', headers=headers)
        check(answer, document[path]["post"]["responses"])


@pytest.mark.parametrize("place", PLACES)
def test_an_address_that_cannot_be_one(http: TestClient, place: str) -> None:
    for path in GETS:
        if "{" in path:
            answer = http.get(at(path, place))
            assert answer.status_code in (200, 404, 405, 422), (path, answer.text)
            if answer.status_code != 200:
                refused(answer)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_that_nobody_asked_for(http: TestClient, document: Any, query: str) -> None:
    for path in GETS:
        check(http.get(f"{at(path)}?{query}"), document[path]["get"]["responses"])


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_makes_no_sense(http: TestClient, document: Any, header: str) -> None:
    body = b'{"model":"resolver","messages":[{"role":"user","content":"x"}]}'
    for value in (b"", b"\xff\xfe", b"x" * 5_000, b"a\tb", b"%00", "é".encode(), b"{}"):
        answer = http.post(
            "/v1/chat/completions",
            content=body,
            headers=[(b"content-type", b"application/json"), (header.encode(), value)],
        )
        check(answer, document["/v1/chat/completions"]["post"]["responses"])


def test_a_method_that_is_not_there(http: TestClient) -> None:
    for path in (*POSTS, *GETS):
        for method in ("PUT", "PATCH", "TRACE", "PROPFIND", "x"):
            answer = http.request(method, at(path))
            assert answer.status_code in (404, 405), (method, path, answer.text)
            assert answer.status_code == 404 or answer.headers["allow"]
            refused(answer)


# -- by hand, over a socket: what a client library would not let through --------------------------------------

HEAD = b"POST /v1/feedback HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
RAW: Mapping[str, bytes] = {
    "a chunked body": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks of one byte": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "a chunk size that is none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "both kinds of length": HEAD
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a length below nothing": HEAD + b"Content-Length: -1\r\n\r\n{}",
    "a length of words": HEAD + b"Content-Length: two\r\n\r\n{}",
    "a broken percent in the address": b"GET /v1/turns/%zz%4 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "bytes in the address": b"GET /v1/turns/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "a whole address": b"GET http://evil.example/v1/turns/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "no host": b"GET /v1/turns/x HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": b"GET /v1/turns/x HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    "an old protocol": b"GET /v1/turns/x HTTP/0.9\r\n\r\n",
    "no protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an answer to a question": b"HTTP/1.1 200 OK\r\n\r\n",
    "a header without a name": HEAD + b": x\r\nContent-Length: 2\r\n\r\n{}",
    "a folded header": HEAD + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_bytes_that_are_hardly_http(served: str, raw: bytes) -> None:
    place = urlsplit(served)
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:
        line.sendall(raw)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status < 500, answer[:500]
