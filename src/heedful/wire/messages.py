"""Messages, wherever we ask for some: in demonstrations, and in a policy's own prompt."""

from __future__ import annotations

from heedful.domain.content import Message, Role, ToolCall
from heedful.wire.fields import Shape, Short, Text


class ToolCallIn(Shape):
    id: Short
    """As the model named it."""
    name: Short
    """Of the tool."""
    arguments: Text
    """JSON text exactly as the model wrote it."""


class MessageIn(Shape):
    """One message of a demonstration's prompt or of a policy's own."""

    role: Role
    """system, developer, user, assistant or tool."""
    content: Text | None = None
    """Text."""
    name: Short | None = None
    """Of the one who speaks, where several have the same role."""
    tool_calls: tuple[ToolCallIn, ...] = ()
    """Tools that the message calls."""
    tool_call_id: Short | None = None
    """The call that a tool's message answers."""

    def to_domain(self) -> Message:
        return Message(
            role=self.role,
            content=self.content,
            name=self.name,
            tool_calls=tuple(ToolCall(**dict(call)) for call in self.tool_calls),
            tool_call_id=self.tool_call_id,
        )
