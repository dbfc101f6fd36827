"""Nothing but HTTP: what any language can do, here with Python's own library.

HEEDFUL_URL and HEEDFUL_KEY say where and as whom. There is an agent `support`: `hosted_model.py` makes it.
"""

import json
import os
import time
import urllib.request

ADDRESS = os.environ.get("HEEDFUL_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("HEEDFUL_KEY", "none")
TICKET = f"ticket-{time.time_ns()}"


def send(method, path, body=None, **headers):
    request = urllib.request.Request(
        ADDRESS + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {KEY}", "content-type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers


answer, headers = send(
    "POST",
    "/v1/chat/completions",
    {"model": "support", "messages": [{"role": "user", "content": "Where is my parcel?"}]},
    **{"x-heedful-episode": TICKET, "x-heedful-user": "customer-7"},
)
print(answer["choices"][0]["message"]["content"])
print(headers["x-heedful-turn"], headers["x-heedful-policy"], headers["x-heedful-episode"])

kept, _ = send(
    "POST",
    "/v1/feedback",
    {"id": f"thumb-{TICKET}", "turn": answer["id"], "said": {"form": "thumbs", "up": True}},
)
print(kept["status"])

send("POST", f"/v1/episodes/{TICKET}/end", {"state": "done", "outcome": 1.0})
