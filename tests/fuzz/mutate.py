"""Bytes and JSON that are nearly right: the kinds of damage that parsers fall over."""

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

EDGES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
WORDS = (0, 1, 15, 16, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = (
    *("0", "-0", "1", "-1", "0.5", "1e0", "24", "25", "-24.000000001", "48000", "48000.0"),
    *("1e308", "-1e308", "1e309", "1e-400", "9" * 40, "9" * 5000, "-" + "9" * 25),
    *(
        "9007199254740993",
        "18446744073709551616",
        "NaN",
        "-nan",
        "Infinity",
        "-Infinity",
        "01",
        "+1",
    ),
    *(".5", "1.", "0x10", "1_0", "1e", "--1", "٣"),
)
TEXTS = (
    *("", " ", "ada", "ben", "start", "s16le", "f32le", "auto", "low", "a" * 65, "a" * 5000),
    *("\x00", "\u2028", "é" * 64, "💩" * 16, "../../etc/passwd", "..", "/", "\\", "CON"),
    *("%00", "%2e%2e", "{{7*7}}", "${jndi}", "<script>", "'; --", "\r\nX: y", "null", "true"),
)
RAW = (  # pieces of JSON that are none, or are more than they seem
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x41"', '"\t"', '"', "'a'", "undefined"),
    *("[", "]", "{", "}", "{}", "[]", "[[]]", '{"a":1}', "[1,]", '{"a":1,}', "/**/1", "nul", "tru"),
)


def damaged(draw: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`data` with one to several small damages; sometimes joined with a piece of another."""
    held = bytearray(data)
    for _ in range(1 + min(int(draw.expovariate(0.7)), 12)):
        draw.choice(DAMAGES)(draw, held)
    if others and draw.random() < 0.1:
        other = draw.choice(others)
        at, cut = draw.randint(0, len(held)), draw.randint(0, len(other))
        held[at:] = other[cut:]
    return bytes(held)


def _flip(draw: random.Random, held: bytearray) -> None:
    if held:
        held[draw.randrange(len(held))] ^= 1 << draw.randrange(8)


def _edge(draw: random.Random, held: bytearray) -> None:
    if held:
        held[draw.randrange(len(held))] = draw.choice(EDGES)


def _word(draw: random.Random, held: bytearray) -> None:
    """A number of 2, 4 or 8 bytes that is likely to overflow something."""
    size = draw.choice((2, 4, 8))
    if len(held) >= size:
        at = draw.randint(0, len(held) - size)
        value = draw.choice(WORDS) & ((1 << 8 * size) - 1)
        held[at : at + size] = value.to_bytes(size, draw.choice(("little", "big")))


def _cut(draw: random.Random, held: bytearray) -> None:
    del held[draw.randint(0, len(held)) :]


def _drop(draw: random.Random, held: bytearray) -> None:
    at = draw.randint(0, len(held))
    del held[at : at + draw.randint(1, 16)]


def _double(draw: random.Random, held: bytearray) -> None:
    at = draw.randint(0, len(held))
    piece = held[at : at + draw.randint(1, 64)]
    held[at:at] = piece * draw.choice((1, 1, 2, 8))


def _insert(draw: random.Random, held: bytearray) -> None:
    at = draw.randint(0, len(held))
    held[at:at] = draw.randbytes(draw.randint(1, 16))


def _swap(draw: random.Random, held: bytearray) -> None:
    if len(held) > 1:
        one, other = draw.randrange(len(held)), draw.randrange(len(held))
        held[one], held[other] = held[other], held[one]


DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _edge, _edge, _word, _word, _cut, _drop, _double, _insert, _swap),
)


def plausible(draw: random.Random, schema: Any, names: Any, depth: int = 0) -> Any:
    """A value that a JSON schema allows, as far as this knows it.

    names  the definitions that `$ref` may name, by the last part of it
    """
    if "$ref" in schema:
        return plausible(draw, names[schema["$ref"].rpartition("/")[2]], names, depth + 1)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return plausible(draw, draw.choice(schema[several]), names, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw.choice(schema["enum"])
    if schema.get("type") == "object":
        return _object(draw, schema, names, depth)
    if schema.get("type") == "array":
        most = min(schema.get("maxItems", 4), 6)
        count = draw.randint(min(schema.get("minItems", 0), most), most)
        items = schema.get("items", {"type": "integer"})
        return [plausible(draw, items, names, depth + 1) for _ in range(count)]
    return _single(draw, schema)


def _single(draw: random.Random, schema: Any) -> Any:
    match schema.get("type"):
        case "number" | "integer":
            low, high = schema.get("minimum", -1000), schema.get("maximum", 1000)
            if schema["type"] == "integer" or draw.random() < 0.3:
                return draw.randint(math.ceil(low), math.floor(high))
            return draw.uniform(low, high)
        case "string":
            most = schema.get("maxLength", 30)
            texts = [t for t in TEXTS if schema.get("minLength", 0) <= len(t) <= most]
            return draw.choice(texts or ["a" * schema.get("minLength", 1)])
        case "boolean":
            return draw.random() < 0.5
        case _:
            return None


def _object(draw: random.Random, schema: Any, names: Any, depth: int) -> dict[str, Any]:
    needed = set(schema.get("required", ()))
    return {
        name: plausible(draw, inner, names, depth + 1)
        for name, inner in schema.get("properties", {}).items()
        if name in needed or "const" in inner or draw.random() < 0.35
    }


def nearly(draw: random.Random, value: Any) -> str:
    """JSON of `value`, mostly with something wrong in it."""
    return _write(draw, value, draw.choice((0.0, 0.05, 0.15, 0.4)), 0)


def spoiled(draw: random.Random, text: str) -> str:
    """A text with a damage that text can have; still text."""
    match draw.randrange(8):
        case 0:
            return damaged(draw, text.encode()).decode("utf-8", "replace")
        case 1:
            depth = draw.choice((10, 200, 3000))
            return "[" * depth + text + "]" * draw.choice((0, depth))
        case 2:
            return draw.choice(("\ufeff", " \n", "//\n", "\x00")) + text
        case 3:
            return text + draw.choice((text, " ", ",", "\x00", "}", "null"))
        case 4:
            depth = draw.choice((10, 200, 2500))
            return text[:-1] + ',"a":' + '{"a":' * depth + "1" + "}" * depth + "}"
        case 5:
            return text.replace(":", draw.choice((": ", "::", "=", ":\n")))
        case 6:
            return text[: draw.randint(0, len(text))]
        case _:
            return text


def _write(draw: random.Random, value: Any, wrong: float, depth: int) -> str:
    if draw.random() < wrong:
        return _other(draw)
    if isinstance(value, dict):
        pairs = [
            (json.dumps(str(name)), _write(draw, inner, wrong, depth + 1))
            for name, inner in value.items()
            if draw.random() >= wrong / 4
        ]
        if pairs and draw.random() < wrong:
            name, inner = draw.choice(pairs)  # twice, perhaps with another value
            pairs.append((name, draw.choice((inner, _other(draw)))))
        if draw.random() < wrong:
            pairs.append((json.dumps(draw.choice(TEXTS)), _other(draw)))
        if draw.random() < wrong:
            draw.shuffle(pairs)
        return "{" + ",".join(f"{name}:{inner}" for name, inner in pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_write(draw, inner, wrong, depth + 1) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=draw.random() < 0.5)


def _other(draw: random.Random) -> str:
    match draw.randrange(5):
        case 0:
            return draw.choice(NUMBERS)
        case 1:
            return json.dumps(draw.choice(TEXTS), ensure_ascii=draw.random() < 0.5)
        case 2:
            return draw.choice(RAW)
        case 3:
            return draw.choice(("null", "true", "false"))
        case _:
            depth = draw.choice((1, 5, 150, 1500))
            return "[" * depth + "0" + "]" * depth
