"""What the Messages API refuses in tools and in schemas that bind the model."""

import re
from collections.abc import Iterator

from responder.doubles.anthropic_turns import Json

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PROPERTY_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
TOOL_KEYS = {
    *("name", "description", "input_schema", "strict", "cache_control", "type"),
    *("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"),
}
# What constrained sampling cannot express; the SDK's `transform_schema` moves it into the description.
NOT_STRICT = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "maxItems", "uniqueItems", "oneOf"),
)


class ApiRefusal(Exception):
    """An error answer."""

    def __init__(self, status: int, error: str, message: str, error_code: str | None = None) -> None:
        """Keep what the answer says."""
        super().__init__(message)
        self.status, self.error, self.message, self.error_code = status, error, message, error_code


def refuse(message: str, error_code: str | None = None) -> ApiRefusal:
    """A 400."""
    return ApiRefusal(400, "invalid_request_error", message, error_code)


def check_tools(tools: object) -> None:
    """Refuse bad names, names twice, and schemas that are none.

    Raises: ApiRefusal: 400, naming the tool.
    """
    if tools is None:
        return
    if not isinstance(tools, list):
        raise refuse("tools: Input should be a valid list")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        _check_tool(tool, f"tools.{index}")
        if tool["name"] in names:
            raise refuse("tools: Tool names must be unique.")
        names.add(tool["name"])


def _check_tool(tool: object, place: str) -> None:
    if not isinstance(tool, dict):
        raise refuse(f"{place}: Input should be an object")
    if tool.get("type") not in (None, "custom"):  # a server tool: its own keys
        if "name" not in tool:
            raise refuse(f"{place}.name: Field required")
        return
    for key in tool.keys() - TOOL_KEYS:
        raise refuse(f"{place}.custom.{key}: Extra inputs are not permitted")
    if not isinstance(tool.get("name"), str) or not TOOL_NAME.fullmatch(tool["name"]):
        raise refuse(f"{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    _check_input_schema(tool.get("input_schema"), f"{place}.custom.input_schema")
    if tool.get("strict"):
        check_strict(tool["input_schema"], f"{place}.custom")


def _check_input_schema(schema: object, place: str) -> None:
    if not isinstance(schema, dict):
        raise refuse(f"{place}: Field required")
    if schema.get("type") != "object":
        raise refuse(f"{place}.type: Input should be 'object'")
    for key in schema.keys() & {"oneOf", "allOf", "anyOf"}:
        raise refuse(f"{place}: input_schema does not support {key} at the top level")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or not isinstance(schema.get("required", []), list):
        raise refuse(f"{place}: JSON schema is invalid. It must match JSON Schema draft 2020-12")
    for name in properties:
        if not PROPERTY_NAME.fullmatch(name):
            raise refuse(f"{place}.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$'")


def check_strict(schema: Json, place: str) -> None:
    """Refuse what constrained sampling cannot follow: open objects and number, length and count limits."""
    for part in _schemas(schema):
        if part.get("type") == "object" and part.get("additionalProperties") is not False:
            raise refuse(f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false")
        for key in NOT_STRICT:
            if key in part:
                raise refuse(f"{place}: For '{part.get('type')}' type, property '{key}' is not supported")
        if part.get("minItems", 0) not in (0, 1):
            raise refuse(f"{place}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")


def _schemas(schema: object) -> Iterator[Json]:
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "$defs", "definitions"):
        named = schema.get(key)
        for part in named.values() if isinstance(named, dict) else ():
            yield from _schemas(part)
    for key in ("anyOf", "allOf", "oneOf", "prefixItems"):
        for part in schema.get(key) or ():
            yield from _schemas(part)
    yield from _schemas(schema.get("items"))


def check_tool_choice(body: Json) -> None:
    """Refuse a choice among tools that are not there."""
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise refuse("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    tools = body.get("tools") or []
    if not tools and kind != "none":
        raise refuse("tool_choice: may only be specified while providing tools")
    if kind == "tool" and choice.get("name") not in [tool["name"] for tool in tools]:
        raise refuse(f"tool_choice.name: Tool '{choice.get('name')}' not found in provided tools")
