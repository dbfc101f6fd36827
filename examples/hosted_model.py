"""Ten minutes with a hosted model and no training: two prompts of one model, and which of them people want.

The first goes to everyone. The second gets half of the tickets, until what customers say shows that it is not
worse, or that it is. HEEDFUL_URL, HEEDFUL_KEY and HEEDFUL_MODEL say where, as whom and which model.
"""

import os
import time

from heedful import Client

ADDRESS = os.environ.get("HEEDFUL_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("HEEDFUL_KEY", "none")
MODEL = os.environ.get("HEEDFUL_MODEL", "gpt-4o-mini")
PATIENCE = 300  # tickets


def prompted(text):
    """A policy: the model, and what it is told before every conversation."""
    prompt = [{"role": "system", "content": text}]
    return {"kind": "external", "upstream": "hosted", "model": MODEL, "prompt": prompt}


def customer(answer, number):
    """Stands for people: all who hear a word of regret are content, and every second of the others."""
    return "sorry" in answer.lower() or number % 2 == 0


heedful = Client(ADDRESS, KEY)

first = heedful.adopt("support", prompted("Answer in one short sentence."), once="support-first")
second = heedful.adopt("support", prompted("Say sorry first. Then answer in one short sentence."))
release = heedful.release_policy(second["id"], steps=[50, 100], once="support-second")
print(f"{first['id']} answers, {second['id']} is tried on half of the tickets")

for number in range(PATIENCE):
    with heedful.episode(agent="support", user=f"customer-{number}") as ticket:
        answer = ticket.ask("My parcel is late. Where is it?")
        content = customer(answer.text, number)
        ticket.thumbs(up=content)
        ticket.say({"form": "completion", "completed": content}, whole=True)
    if number % 20 == 19:
        release = heedful.release(release["id"])
        if release["stage"] != "canary":
            break
        time.sleep(2)  # it is looked at every two seconds

print(f"after {number + 1} tickets the release is {release['stage']}")
for step in release["taken"]:
    print(f"  at {step['percent']:g} %: {step['decision']}")
for agent in heedful.status()["agents"]:
    print(f"{agent['agent']}: {agent['live']} answers")
turn = heedful.turn(answer.turn)
print(f"the last answer took {turn['latency']:.3f} s and cost {turn['usage']['spend']:.6f}")
heedful.close()
