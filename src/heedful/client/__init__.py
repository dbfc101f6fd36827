"""What a fleet and a product import to talk to a Heedful server.

    with Client("http://127.0.0.1:8080") as heedful:
        with heedful.episode(agent="support", user="ada") as episode:
            answer = episode.ask("Where is my parcel?")
            episode.thumbs(up=True)

`Client` and `AsyncClient` have the same methods, described once in `calls` and listed once in `requests`.
`collect` gathers feedback from an agent that runs; `heedful.client.sources` has the usual streams.
"""

from heedful.client.blocking import Client
from heedful.client.calls import Completion, Json, Messages, Said, ask, new_id
from heedful.client.episode import AsyncEpisode, Episode, current, headers
from heedful.client.live import Collector, Report, Source, State, collect
from heedful.client.nonblocking import AsyncClient
from heedful.client.patience import Patience
from heedful.client.plan import Call
from heedful.client.spool import Spool, Spooled

__all__ = [
    "AsyncClient",
    "AsyncEpisode",
    "Call",
    "Client",
    "Collector",
    "Completion",
    "Episode",
    "Json",
    "Messages",
    "Patience",
    "Report",
    "Said",
    "Source",
    "Spool",
    "Spooled",
    "State",
    "ask",
    "collect",
    "current",
    "headers",
    "new_id",
]
