"""OpenAI's own client with Heedful in front of the model. The agent's name is the model.

HEEDFUL_URL and HEEDFUL_KEY say where and as whom; on one machine alone neither is needed. There is an agent
`support`: `hosted_model.py` makes it.
"""

import os
import time

from openai import OpenAI

from heedful import Client

ADDRESS = os.environ.get("HEEDFUL_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("HEEDFUL_KEY", "none")
TICKET = f"ticket-{time.time_ns()}"

client = OpenAI(base_url=f"{ADDRESS}/v1", api_key=KEY)
inside = client.with_options(default_headers={"x-heedful-episode": TICKET, "x-heedful-user": "customer-7"})

messages = [{"role": "user", "content": "Where is my parcel?"}]
answer = inside.chat.completions.create(model="support", messages=messages)
print(answer.choices[0].message.content)

messages += [answer.choices[0].message, {"role": "user", "content": "And when does it come?"}]
with inside.chat.completions.stream(model="support", messages=messages) as stream:
    for event in stream:
        if event.type == "content.delta":
            print(event.delta, end="", flush=True)
    streamed = stream.get_final_completion()
print()

first = client.responses.create(model="support", input="Where is my parcel?")
second = client.responses.create(model="support", input="And when?", previous_response_id=first.id)
print(second.output_text)

with Client(ADDRESS, KEY) as heedful:
    heedful.feedback({"turn": answer.id, "said": {"form": "thumbs", "up": True}})
    heedful.feedback({"turn": second.id, "said": {"form": "rating", "value": 4}})
    for spoke in heedful.get_episode(TICKET)["conversation"]:
        print(spoke["by"], "->", spoke["to"])
