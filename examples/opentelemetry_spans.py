"""Agents that nothing stands in front of: their OpenTelemetry spans become episodes and turns afterwards.

Most kits make such spans by themselves (`gen_ai.*`); here they are made by hand. HEEDFUL_URL and HEEDFUL_KEY say
where and as whom. Packages: heedful[otel].
"""

import json
import os
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

ADDRESS = os.environ.get("HEEDFUL_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("HEEDFUL_KEY", "none")
TICKET = f"ticket-{time.time_ns()}"


class Told(OTLPSpanExporter):
    """The exporter as it is; it only says what became of the spans."""

    def export(self, spans):
        result = super().export(spans)
        print("taken" if result is SpanExportResult.SUCCESS else "refused", [span.name for span in spans])
        return result


exporter = Told(endpoint=f"{ADDRESS}/v1/traces", headers={"authorization": f"Bearer {KEY}"})
provider = TracerProvider(resource=Resource.create({"service.name": "helpdesk"}))
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("helpdesk")


def said(role, text):
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def spoke(agent, question, answer):
    """One call of a model, as the conventions for generative AI have it."""
    with tracer.start_as_current_span(f"chat {agent}") as span:
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.agent.name": agent,
                "gen_ai.conversation.id": TICKET,
                "gen_ai.input.messages": json.dumps([said("user", question)]),
                "gen_ai.output.messages": json.dumps(
                    [{**said("assistant", answer), "finish_reason": "stop"}]
                ),
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 7,
            }
        )
        span.add_event(
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 1.0},
        )


spoke("triage", "Why is invoice R-7 so high?", "Billing knows.")
spoke("billing", "Why is invoice R-7 so high?", "It has two months on it.")
provider.shutdown()
print(f"heedful show episode otlp:session:{TICKET}")
