"""Arithmetic as people write it, worked out without running it, and worded to be spoken.

An expression is parsed as Python (`ast`), and only numbers, operators and the functions and
constants here mean anything. Size is bounded before anything is worked out.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable
from typing import Any, Final

#: Longest expression, in characters.
MAX_LENGTH: Final = 200
#: Largest result and intermediate result.
LIMIT: Final = 10**100
_LIMIT_BITS = LIMIT.bit_length()
#: Outside of these, results are told by mantissa and exponent.
_LONG = 10**15
_SHORT = 1e-9
_TOO_LARGE = "the result is too large to be worked out"

Number = int | float

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "abs": abs,
    # As people round, halves away from zero; Python's goes to the even neighbour.
    "round": lambda value: math.floor(abs(value) + 0.5) * (-1 if value < 0 else 1),
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "radians": math.radians,
    "degrees": math.degrees,
}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e, "tau": math.tau}
#: How people write, and how Python does.
_SPELLINGS: Final = (
    (re.compile(r"[\u2212\u2013]"), "-"),
    (re.compile(r"[\u00d7\u00b7]"), "*"),
    (re.compile("\u00f7"), "/"),
    (re.compile(r"\^"), "**"),
    (re.compile(r"(?<=\d)\s*x\s*(?=\d)"), "*"),
    # 1,000,000; no function here takes two numbers.
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"%\s*of\b"), "/100*"),
    # Percent, where what follows makes it no remainder.
    (re.compile(r"%(?=\s*(?:$|[-+*/)]))"), "/100"),
)


def evaluate(expression: str) -> Number:
    """Work out an expression.

    Numbers, + - * / // % ** ^, parentheses, percentages (20% of 50), and the functions and
    constants above. Angles are in radians, log is to base 10.

    Raises:
        ValueError: It is no such expression, or has no (small enough) result; says why.
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"expected an expression of at most {MAX_LENGTH} characters")
    for spelling, python in _SPELLINGS:
        expression = spelling.sub(python, expression)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of 1if, and the like: it is refused below.
            tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError("that is no arithmetic; write it as 2 * (3 + 4)") from None
    try:
        return _work_out(tree.body)
    except ZeroDivisionError:
        raise ValueError("one cannot divide by zero") from None
    except OverflowError:
        raise ValueError(_TOO_LARGE) from None


def spoken(value: Number) -> str:
    """Word a number to be spoken: two decimals, or three digits of what is below one."""
    if abs(value) >= _LONG or 0 < abs(value) < _SHORT:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{_trimmed(mantissa)} times 10 to the power of {int(exponent)}"
    if isinstance(value, int):
        return str(value)
    decimals = 2 if abs(value) >= 1 or value == 0 else 2 - math.floor(math.log10(abs(value)))
    return _trimmed(f"{value:.{decimals}f}")


def _work_out(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            return _bounded(_UNARY[type(sign)](_work_out(operand)))
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _power(_work_out(base), _work_out(exponent))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _bounded(_BINARY[type(sign)](_work_out(left), _work_out(right)))
        case ast.Call(func=ast.Name(id=name), args=[value], keywords=[]) if (
            name.lower() in _FUNCTIONS
        ):
            return _applied(name.lower(), _work_out(value))
    raise ValueError(
        "only numbers, + - * / // % **, parentheses and these can be used: "
        + ", ".join([*_FUNCTIONS, *_CONSTANTS])
    )


def _power(base: Number, exponent: Number) -> Number:
    # 9**9**9 is an int that takes all memory: how large it gets is known before.
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent * (base.bit_length() - 1) > _LIMIT_BITS:
            raise ValueError(_TOO_LARGE)
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("a negative number has no such root")
    return _bounded(result)


def _applied(name: str, value: Number) -> Number:
    try:
        return _bounded(_FUNCTIONS[name](value))
    except ValueError:
        raise ValueError(f"{name} of that number is not defined") from None


def _bounded(value: Number) -> Number:
    if not abs(value) <= LIMIT:  # Also of what is no number.
        raise OverflowError
    return value


def _trimmed(digits: str) -> str:
    short = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if short == "-0" else short
