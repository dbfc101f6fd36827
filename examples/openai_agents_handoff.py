"""openai-agents with Heedful in front of the model: triage hands over to billing, and the graph shows it.

HEEDFUL_URL and HEEDFUL_KEY say where and as whom. There are agents `triage` and `billing` whose models can call
tools.
"""

import asyncio
import os

import agents
from agents import Agent, ModelSettings, RunConfig, Runner, function_tool
from openai import AsyncOpenAI

from heedful import Client

ADDRESS = os.environ.get("HEEDFUL_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("HEEDFUL_KEY", "none")


@function_tool
def invoice(number: str) -> str:
    """What an invoice is over."""
    return f"{number} is over 12 €"


agents.set_default_openai_client(AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key=KEY), use_for_tracing=False)
agents.set_tracing_disabled(True)  # their traces would go to OpenAI

billing = Agent(name="Billing", model="billing", instructions="Look invoices up.", tools=[invoice])
triage = Agent(name="Triage", model="triage", instructions="Hand over to billing.", handoffs=[billing])

with Client(ADDRESS, KEY) as heedful, heedful.episode(user="customer-7") as ticket:
    every = RunConfig(model_settings=ModelSettings(extra_headers=ticket.headers))
    run = asyncio.run(Runner.run(triage, "Why is invoice R-7 so high?", run_config=every))
    print(run.final_output)
    ticket.thumbs(up=True, turn=run.last_response_id)

    for spoke in heedful.get_episode(ticket.id)["conversation"]:
        print(spoke["by"], "->", spoke["to"])
