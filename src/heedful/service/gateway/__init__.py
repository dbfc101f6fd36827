"""Stop 0: an agent asks as it would ask OpenAI, a policy answers, and the turn is kept before that leaves.

`desk.py` has the addresses and reads top to bottom; the files beside it are its verbs: what was asked
(`asking`), where it belongs (`placing`), which policy answers (`allotting`), what becomes of it (`turns`,
`streams`), how it gets to the store (`service/intake/recorder.py`), and what a client that asks again gets
(`repeats`).
"""

from heedful.service.gateway.desk import INSIDE, Gateway

__all__ = ["INSIDE", "Gateway"]
