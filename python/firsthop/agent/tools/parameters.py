"""The parameters of a function: as a JSON Schema for the model, and as checks of what it gives."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaWarningKind
from pydantic_core import CoreSchema, ErrorDetails

from firsthop.agent.tools.base import ToolContext, ToolError
from firsthop.agent.tools.docstring import Docstring
from firsthop.call import Call

#: Problems that the model is told at once.
_MAX_PROBLEMS = 5
#: What pydantic's errors mean to who wrote the arguments.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "none_required": "null",
}
#: Kinds of parameters that a model cannot give by name.
_NAMELESS = {
    inspect.Parameter.POSITIONAL_ONLY: "can be given by position only",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values",
    inspect.Parameter.VAR_KEYWORD: "takes any name",
}


class Parameters:
    """What a function wants to be given.

    Attributes:
        schema: JSON Schema of an object, for the model.

    Raises:
        TypeError: A parameter is nothing that a model can give; says which and what to do.
    """

    def __init__(self, function: Callable[..., Any], doc: Docstring) -> None:
        hints = _hints(function)
        fields: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._given: dict[str, Callable[[ToolContext], Any]] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            given = _given(hints.get(name))
            if given is not None:
                self._given[name] = given
                continue
            _check(function, parameter, annotated=name in hints)
            # Fields have names of their own: what a parameter may be called, a field may not.
            self._names[name] = f"p{len(fields)}"
            fields[self._names[name]] = _field(hints[name], parameter, doc.parameters.get(name))
        try:
            self._model: type[BaseModel] = create_model(
                "Arguments", __config__=ConfigDict(extra="forbid"), **fields
            )
            self.schema = self._model.model_json_schema(schema_generator=_Schema)
        except (PydanticUserError, TypeError) as error:
            raise TypeError(
                f"tool {function.__qualname__}: a parameter's type has no JSON form "
                f"({type(error).__name__}); use str, int, float, bool, list, dict, Literal, "
                "a dataclass or a pydantic model"
            ) from error
        for key in ("title", "description"):
            self.schema.pop(key, None)
        self.schema.setdefault("properties", {})

    def check(self, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        """Return what to call the function with.

        Raises:
            ToolError: Something is missing or wrong; names it, and what is expected.
        """
        try:
            checked = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolError(self._worded(error)) from None
        values = {name: getattr(checked, field) for name, field in self._names.items()}
        return values | {name: given(context) for name, given in self._given.items()}

    def _worded(self, error: ValidationError) -> str:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        told = [self._problem(problem) for problem in problems[:_MAX_PROBLEMS]]
        if len(problems) > len(told):
            told.append(f"and {len(problems) - len(told)} more")
        return "; ".join(told)

    def _problem(self, problem: ErrorDetails) -> str:
        where = ".".join(str(part) for part in problem["loc"])
        kind, text = problem["type"], problem["msg"]
        if kind == "missing":
            return f"{where}: is missing"
        if kind == "extra_forbidden":
            known = ", ".join(self._names) or "none"
            return f"{where}: there is no such argument; there are: {known}"
        if kind in _EXPECTED:
            return f"{where}: expected {_EXPECTED[kind]}"
        if text.startswith("Input should be "):
            return f"{where}: must be {text.removeprefix('Input should be ')}"
        return f"{where}: {text.removeprefix('Value error, ')}"


class _Schema(GenerateJsonSchema):
    """JSON Schema without what tells the model nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Say nothing of defaults that have no JSON form: they are left out."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
        made = super().generate(schema, mode)
        for definition in made.get("$defs", {}).values():
            definition.pop("title", None)
        return made


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError) as error:
        raise TypeError(
            f"tool {function.__qualname__}: an annotation cannot be found ({error}); what tools "
            "are annotated with must be imported when they run, not under TYPE_CHECKING only"
        ) from error


def _given(hint: Any) -> Callable[[ToolContext], Any] | None:
    """How a parameter is filled that is no business of the model's; None: it is."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if hint is ToolContext:
        return lambda context: context
    if hint is Call:
        return lambda context: context.call
    return None


def _check(function: Callable[..., Any], parameter: inspect.Parameter, *, annotated: bool) -> None:
    where = f"tool {function.__qualname__}: the parameter {parameter.name}"
    if parameter.kind in _NAMELESS:
        raise TypeError(
            f"{where} {_NAMELESS[parameter.kind]}, and models give arguments by name; "
            "write out the parameters that there are"
        )
    if not annotated:
        raise TypeError(
            f"{where} has no annotation; write what it takes, as {parameter.name}: str "
            "(functions can be tools, methods cannot)"
        )
    if isinstance(parameter.default, FieldInfo):
        raise TypeError(
            f"{where} has a Field as its default; "
            f"write {parameter.name}: Annotated[..., Field(...)] = value"
        )


def _field(hint: Any, parameter: inspect.Parameter, words: str | None) -> tuple[Any, Any]:
    """A field for a parameter. What its own annotation says comes before the docstring."""
    own = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    if words is not None and not any(map(_describes, own)):
        hint = Annotated[hint, Field(description=words)]
    required = parameter.default is inspect.Parameter.empty
    return hint, Field(... if required else parameter.default, alias=parameter.name)


def _describes(part: object) -> bool:
    return isinstance(part, FieldInfo) and part.description is not None
