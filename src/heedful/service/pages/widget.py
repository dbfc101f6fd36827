"""The feedback widget's script, for pages of others. It is public: what it may do is up to the key in the page."""

from __future__ import annotations

import hashlib
import importlib.resources

from starlette.requests import Request
from starlette.responses import Response

PATH = "/widget.js"
SCRIPT = importlib.resources.files("heedful.service.pages").joinpath("widget.js").read_bytes()
HEADERS = {
    "etag": f'"{hashlib.sha256(SCRIPT).hexdigest()[:32]}"',
    "cache-control": "public, max-age=3600",
    # A page may check its hash (`integrity`), and may be one that loads nothing that does not allow it.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}


async def script(request: Request) -> Response:
    """`GET /widget.js`: the feedback widget, for a script tag in a page of yours."""
    request.state.route = PATH
    if request.headers.get("if-none-match") == HEADERS["etag"]:
        return Response(status_code=304, headers=HEADERS)
    return Response(SCRIPT, headers=HEADERS, media_type="text/javascript")
