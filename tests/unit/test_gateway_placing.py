"""Where a turn belongs when nobody says it."""

from __future__ import annotations

from typing import Any

from factories import make_turn
from heedful.domain.access import Limits
from heedful.domain.content import ToolCall
from heedful.domain.episode import Turn, addressees
from heedful.domain.ids import AgentId, EpisodeId, TenantId, TurnId
from heedful.service.gateway.asking import Asked
from heedful.service.gateway.placing import Placing
from heedful.wire import TurnContext

ACME = TenantId("acme")


def asked(
    *messages: dict[str, Any], agent: str = "billing", episode: str | None = "e", **context: Any
) -> Asked:
    said = TurnContext(**context)
    return Asked(
        tenant=ACME,
        key=None,
        agent=AgentId(agent),
        model=agent,
        chat={"messages": [{"role": "user", "content": "Hi"}, *messages]},
        n=1,
        stream=False,
        with_usage=False,
        context=said,
        episode=EpisodeId(episode or "minted"),
        named=episode is not None,
        fingerprint=b"",
        attempt=0,
        metadata={},
        limits=Limits(),
        parent=None if said.parent is None else TurnId(said.parent),
        to=said.to,
    )


def turn(id: str, *calls: str, agent: str = "triage", name: str = "look", **more: Any) -> Turn:
    made = tuple(ToolCall(id=call, name=name, arguments="{}") for call in calls)
    fields: dict[str, Any] = {"tenant": ACME, "episode": "e", "answer": "", "addressee": None, **more}
    return make_turn(id=id, agent=agent, tool_calls=made, **fields)


def calling(*ids: str) -> list[dict[str, Any]]:
    """The call as a client sends it back, with its results."""
    calls = [{"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}} for id in ids]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": id, "content": "seen"} for id in ids),
    ]


def saying(words: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": words}, {"role": "user", "content": "And now?"}]


def noted(*turns: Turn, most: int = 100) -> Placing:
    placing = Placing(most=most)
    placing.note(asked(), turns)
    return placing


def test_the_result_of_a_call_goes_on_from_the_turn_that_called() -> None:
    placing = noted(turn("t1", "c1", "c2"))
    placed = placing.placed(asked(*calling("c1", "c2")))
    assert (placed.parent, placed.to) == ("t1", "user")


def test_words_go_on_from_the_turn_that_said_them() -> None:
    placing = noted(turn("t1", answer="Hello."), turn("t2", answer="Goodbye."))
    assert placing.placed(asked(*saying("Hello."))).parent == "t1"
    in_parts: Any = [{"type": "text", "text": "Good"}, {"type": "text", "text": "bye."}]
    assert placing.placed(asked(*saying(in_parts))).parent == "t2"
    assert placing.placed(asked(*saying("Who?"))).parent is None
    assert placing.placed(asked()).parent is None


def test_only_the_last_thing_said_counts() -> None:
    placing = noted(turn("t1", "c1"), turn("t2", answer="Seen."))
    assert placing.placed(asked(*calling("c1"), *saying("Seen."))).parent == "t2"
    assert placing.placed(asked(*calling("c1"), *saying("Else."))).parent is None


def test_a_call_joins_a_request_without_an_episode_to_its_own() -> None:
    placing = noted(turn("t1", "c1", answer="I look."))
    placed = placing.placed(asked(*calling("c1"), episode=None))
    assert (placed.episode, placed.named, placed.parent) == ("e", True, "t1")
    alone = placing.placed(asked(*saying("I look."), episode=None))
    assert (alone.episode, alone.named, alone.parent) == ("minted", False, None)


def test_a_call_id_that_two_turns_had_joins_nothing() -> None:
    """Some servers number their calls from 0 in every answer."""
    placing = noted(turn("t1", "call_0"), turn("t2", "call_0", episode="f"))
    assert placing.placed(asked(*calling("call_0"), episode=None)).episode == "minted"
    assert placing.placed(asked(*calling("call_0"), episode="f")).parent == "t2"


def test_the_whole_conversation_joins_a_request_without_an_episode_to_its_own() -> None:
    placing = noted(turn("t1", agent="billing", answer="Hello."))
    placed = placing.placed(asked(*saying("Hello."), episode=None))
    assert (placed.episode, placed.named, placed.parent) == ("e", True, "t1")
    assert placing.placed(asked(*saying("Hello."), episode=None, user="ada")).episode == "minted"
    assert placing.placed(asked(*saying("Hello."), episode=None, agent="sales")).episode == "minted"


def test_two_conversations_that_are_alike_so_far_join_nothing() -> None:
    placing = noted(
        turn("t1", agent="billing", answer="Hello."),
        turn("t2", agent="billing", answer="Hello.", episode="f"),
    )
    assert placing.placed(asked(*saying("Hello."), episode=None)).episode == "minted"


def test_calls_of_two_turns_at_once_join_nothing() -> None:
    placing = noted(turn("t1", "c1"), turn("t2", "c2", episode="f"))
    assert placing.placed(asked(*calling("c1", "c2"), episode=None)).episode == "minted"


def test_what_the_caller_says_stands() -> None:
    placing = noted(turn("t1", "c1"))
    placed = placing.placed(asked(*calling("c1"), parent="mine", to="auditor"))
    assert (placed.parent, placed.to) == ("mine", "auditor")
    assert placing.placed(asked(*calling("c1"), parent="mine")).to is None
    assert placing.placed(asked(*calling("c1"), to="auditor")).parent == "t1"
    assert placing.placed(asked(*calling("c1"), episode="other")).parent is None


def test_other_tenants_calls_are_not_known() -> None:
    placing = noted(turn("t1", "c1", tenant="other"))
    assert placing.placed(asked(*calling("c1"))).parent is None
    assert placing.placed(asked(*calling("c1"), episode=None)).episode == "minted"


def test_while_another_agent_waits_nobody_is_said_to_be_answered() -> None:
    placing = noted(turn("t1", "c1", agent="chief"))
    assert placing.placed(asked()).to is None
    assert placing.placed(asked(agent="chief")).to == "user"  # it gave its own call up
    assert placing.placed(asked(*calling("c1"), agent="chief")).to == "user"
    assert placing.placed(asked()).to == "user"


def test_who_hands_over_does_not_wait() -> None:
    placing = noted(turn("t1", "c1", name="transfer_to_billing"))
    assert placing.placed(asked()).to == "user"


def test_the_oldest_is_forgotten() -> None:
    placing = noted(*(turn(f"t{n}", f"c{n}", episode=f"e{n}") for n in range(5)), most=2)
    found = [placing.placed(asked(*calling(f"c{n}"), episode=f"e{n}")).parent for n in range(5)]
    assert found == [None, None, None, "t3", "t4"]


# -- and read off the turns ----------------------------------------------------------------------------------


def test_who_calls_and_is_followed_by_another_agent_spoke_to_it() -> None:
    turns = [
        turn("t1", "c1"),
        turn("t2", "c2", agent="billing", parent="t1"),
        turn("t3", agent="billing", parent="t2", addressee="user"),
        turn("t4", "c4", agent="billing", parent="t1"),
    ]
    assert addressees(turns) == {"t1": "billing", "t2": None, "t3": "user", "t4": None}


def test_an_answer_without_an_addressee_answers_its_parents_agent() -> None:
    turns = [turn("t1", "c1"), turn("t2", agent="billing", parent="t1"), turn("t3", parent="gone")]
    assert addressees(turns) == {"t1": "billing", "t2": "triage", "t3": None}
