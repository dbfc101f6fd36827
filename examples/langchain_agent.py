"""LangChain with Heedful in front of the model: a chat that calls a tool, and what somebody thinks of its answer.

HEEDFUL_URL and HEEDFUL_KEY say where and as whom. There is an agent `lookup` whose model can call tools.
"""

import os
import time

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from heedful import Client

ADDRESS = os.environ.get("HEEDFUL_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("HEEDFUL_KEY", "none")
TICKET = f"ticket-{time.time_ns()}"


@tool
def parcel(number: str) -> str:
    """Where a parcel is."""
    return f"{number} is in Lyon"


model = ChatOpenAI(
    model="lookup",
    base_url=f"{ADDRESS}/v1",
    api_key=KEY,
    default_headers={"x-heedful-episode": TICKET},
)

asking = model.bind_tools([parcel])
messages = [HumanMessage("Where is parcel 7?")]
answer = asking.invoke(messages)
while answer.tool_calls:
    messages += [answer, *(parcel.invoke(call) for call in answer.tool_calls)]
    answer = asking.invoke(messages)
print(answer.text)

turn = answer.response_metadata["id"]  # of a stream: include_response_headers=True, then ["headers"]
with Client(ADDRESS, KEY) as heedful:
    heedful.feedback({"turn": turn, "said": {"form": "correction", "text": "It is in Lyon.", "kind": "tone"}})
    for one in heedful.get_episode(TICKET)["turns"]:
        print(one["id"], "goes on from", one["parent"])
