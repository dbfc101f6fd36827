"""The house over HTTP: the gateway that agents call, and the API for everything else.

| where | what happens there |
|---|---|
| `door/` | a request comes in: who asks, whether they may, and how fast |
| `gateway/` | an agent's request is answered by a policy |
| `pages/` | everything else that can be asked, a page for each topic |
| `intake/` | turns and feedback are taken in and kept |
| `state/` | what this process knows and has counted |

`api.py` puts it together. Each page has its handlers and, at the end, a table of its routes: path, what a caller
must be allowed to do, handler. A route without such an entry cannot be made.
"""
