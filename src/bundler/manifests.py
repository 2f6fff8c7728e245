"""YAML of Kubernetes manifests: read one way, written one way.

Reading follows what Kubernetes tools agree on (YAML 1.2 booleans and null, Go's integers, so
`0644` is octal and `yes` is a string), without tags and duplicate keys and within bounds. Writing
is our own, so that the same value has the same bytes with every version of every library: sorted
keys, every string quoted that YAML 1.1 or 1.2 could read as something else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NoReturn

import yaml

from bundler.model.finding import json_pointer

MAX_BYTES = 64 * 1024 * 1024
MAX_DOCUMENTS = 50_000
MAX_NODES = 2_000_000
MAX_DEPTH = 100
_STR, _MAP, _SEQ, _MERGE = (f"tag:yaml.org,2002:{tag}" for tag in ("str", "map", "seq", "merge"))
_MAX_DIGITS = 1_000
"""Of a number in whatever base; beyond some thousands Python writes none."""
_SUSPECT_NESTING = 1_000
_DEEP_BLOCK = re.compile(r"(?:[-?:][ \t]+){200}| {500}")


class InvalidYaml(ValueError):
    """Text that is no acceptable YAML; `line` is 1-based where it is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def _line(mark: Any) -> int | None:
    return mark.line + 1 if mark else None


class _Loader(yaml.CSafeLoader):
    """CSafeLoader with Kubernetes' scalars; duplicate keys and unknown tags are errors."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own protocol

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        """As PyYAML does, for loaders without path resolvers: it is asked for every node."""
        if kind is yaml.ScalarNode:
            if implicit[0]:
                for tag, pattern in self.yaml_implicit_resolvers.get(value[:1], ()):
                    if pattern.match(value):
                        return str(tag)
            return _STR
        return _MAP if kind is yaml.MappingNode else _SEQ

    def document(self, node: yaml.Node) -> Any:
        return _Built(self).value(node)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    if len(text) > _MAX_DIGITS:
        raise InvalidYaml("a number with too many digits", _line(node.start_mark))
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if re.fullmatch(r"0[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    value = float("nan") if text.lstrip("+-") in (".inf", ".nan") else float(text)
    if not math.isfinite(value):  # 1e999 is none either
        raise InvalidYaml(f"{text} is no value of a manifest", _line(node.start_mark))
    return value


class _Built:
    """The values of one document's nodes; a node that is used twice has one value."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._known: dict[int, Any] = {}

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _STR:
                return node.value
            if node.tag not in (_MAP, _SEQ):
                return self._loader.construct_object(node)
        elif id(node) in self._known:
            return self._known[id(node)]
        elif depth > MAX_DEPTH:
            raise InvalidYaml("nested too deeply", _line(node.start_mark))
        elif isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._known.setdefault(id(node), self._mapping(node, depth))
        elif isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            items = [self.value(each, depth + 1) for each in node.value]
            return self._known.setdefault(id(node), items)
        return _refuse_tag(self._loader, node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged = 0
        if any(key_node.tag == _MERGE for key_node, _ in node.value):
            own = sum(key_node.tag != _MERGE for key_node, _ in node.value)
            # Puts what `<<` merges first: a key of the mapping's own wins.
            self._loader.flatten_mapping(node)
            merged = len(node.value) - own
        mapping: dict[str, Any] = {}
        seen: set[str] = set()
        for number, (key_node, value_node) in enumerate(node.value):
            key = self.value(key_node, depth + 1)
            if not isinstance(key, str):
                raise InvalidYaml(f"key {key!r} is not a string", _line(key_node.start_mark))
            if key in seen:
                raise InvalidYaml(f"key {key!r} stands twice", _line(key_node.start_mark))
            if number >= merged:
                seen.add(key)
            mapping[key] = self.value(value_node, depth + 1)
        return mapping


def _refuse_tag(_: _Loader, node: yaml.Node) -> NoReturn:
    raise InvalidYaml(f"tag {node.tag!r} is not allowed", _line(node.start_mark))


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0[0-7_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
for _unwanted in ("binary", "timestamp", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_unwanted}", _refuse_tag)
_Loader.add_constructor(None, _refuse_tag)


class _ValuesLoader(_Loader):
    """As helm reads values: YAML 1.1's booleans, keys of any kind, the last of two equal ones."""

    def document(self, node: yaml.Node) -> Any:
        return self.construct_document(node)


def _construct_bool(loader: _ValuesLoader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)).lower() in ("y", "yes", "true", "on")


def _construct_loose_mapping(loader: _ValuesLoader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    pairs = ((loader.construct_object(k, deep=True), v) for k, v in node.value)
    return {
        key if isinstance(key, str) else json.dumps(key): loader.construct_object(value, deep=True)
        for key, value in pairs
    }


_ValuesLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$"),
    list("yYnNoO"),
)
_ValuesLoader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
_ValuesLoader.add_constructor("tag:yaml.org,2002:map", _construct_loose_mapping)


def read_documents(text: bytes | str) -> list[Any]:
    """All documents of a YAML stream, empty ones left out. Raises InvalidYaml."""
    return _read(text, _Loader)


def read_values(text: bytes | str) -> Mapping[str, Any]:
    """The mapping in a helm chart's file, read as helm reads it. Raises InvalidYaml."""
    first: Any = next(iter(_read(text, _ValuesLoader)), {})
    if not isinstance(first, Mapping):
        raise InvalidYaml("is not a mapping", 1)
    return first


def line_numbers(text: bytes | str, document: int = 0) -> Mapping[str, int]:
    """JSON pointer → line, of a text that is known to be valid; of one document, as they count."""
    lines: dict[str, int] = {}
    seen: set[int] = set()

    def visit(node: yaml.Node, pointer: str) -> None:
        if id(node) in seen:  # an alias: its content stands elsewhere
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                place = pointer + json_pointer(key.value)
                lines[place] = key.start_mark.line + 1
                visit(value, place)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                place = f"{pointer}/{index}"
                lines[place] = value.start_mark.line + 1
                visit(value, place)

    loader = yaml.CSafeLoader(text)
    try:
        nodes = iter(lambda: loader.get_node() if loader.check_node() else None, None)
        full = (node for node in nodes if not isinstance(node, yaml.ScalarNode) or node.value)
        for node in islice(full, document, document + 1):
            visit(node, "")
    finally:
        loader.dispose()
    return lines


def _read(text: bytes | str, kind: type[_Loader]) -> list[Any]:
    if len(text) > MAX_BYTES:
        raise InvalidYaml(f"larger than {MAX_BYTES // 1024 // 1024} MiB")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidYaml(f"not UTF-8: {error.reason} at byte {error.start}") from error
    loader = None
    try:
        _check_depth(text)
        loader = kind(text)
        return list(_documents(loader, "*" in text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InvalidYaml(problem, _line(mark)) from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, InvalidYaml):
            raise
        raise InvalidYaml(str(error) or "nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()


def _documents(loader: _Loader, has_aliases: bool) -> Iterator[Any]:
    for count, _ in enumerate(iter(loader.check_node, False), 1):
        if count > MAX_DOCUMENTS:
            raise InvalidYaml(f"more than {MAX_DOCUMENTS} documents")
        node = loader.get_node()
        if has_aliases:
            _check_size(node)
        value = None if node is None else loader.document(node)
        if value is not None:
            yield value


def _check_depth(text: str) -> None:
    """Refuse what would overflow the C composer's stack; ordinary text costs three scans."""
    if text.count("[") + text.count("{") < _SUSPECT_NESTING and not _DEEP_BLOCK.search(text):
        return
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidYaml("nested too deeply", _line(event.start_mark))


def _check_size(root: yaml.Node | None) -> None:
    """Bound depth and expanded size: an alias counts as often as it is used."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise InvalidYaml("nested too deeply", _line(node.start_mark))
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = MAX_NODES  # a node that contains itself is too large
            children = (
                [part for pair in node.value for part in pair]
                if isinstance(node, yaml.MappingNode)
                else node.value
            )
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children)
        return sizes[id(node)]

    if root is not None and size(root, 0) > MAX_NODES:
        raise InvalidYaml("its aliases expand beyond all bounds", _line(root.start_mark))


def read_json(text: bytes) -> Any:
    """A JSON document; duplicate keys, NaN and infinity are errors. Raises ValueError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return mapping

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


# --- writing ------------------------------------------------------------------------------------

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_RESERVED = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"])
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_UNPRINTABLE = re.compile(
    r"[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def write_documents(objects: Iterable[Mapping[str, Any]]) -> bytes:
    """YAML documents, each started by `---`."""
    return "".join(f"---\n{''.join(_mapping(obj, ''))}" for obj in objects).encode()


def _mapping(mapping: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key in sorted(mapping):
        yield f"{indent}{_scalar(key)}:"
        yield from _value(mapping[key], indent)


def _value(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield "\n"
        yield from _mapping(value, indent + "  ")
    elif isinstance(value, (list, tuple)) and value:
        yield "\n"
        yield from _sequence(value, indent)
    elif isinstance(value, str) and _is_block(value):
        yield from _block(value, indent + "  ")
    else:
        yield f" {_scalar(value)}\n"


def _sequence(items: list[Any] | tuple[Any, ...], indent: str) -> Iterator[str]:
    for item in items:
        if isinstance(item, Mapping) and item:
            lines = "".join(_mapping(item, indent + "  "))
            yield f"{indent}- {lines[len(indent) + 2 :]}"
        elif isinstance(item, (list, tuple)) and item:
            lines = "".join(_sequence(item, indent + "  "))
            yield f"{indent}- {lines[len(indent) + 2 :]}"
        else:
            yield f"{indent}-"
            yield from _value(item, indent)


def _is_block(text: str) -> bool:
    """Whether a literal block shows the text exactly: several lines, no odd white space."""
    body = text.rstrip("\n")
    return (
        "\n" in body
        and not text.startswith((" ", "\t", "\n"))
        and not _UNPRINTABLE.search(text)
        and not any(line != line.rstrip() for line in body.split("\n"))
    )


def _block(text: str, indent: str) -> Iterator[str]:
    body = text.rstrip("\n")
    trailing = len(text) - len(body)
    yield " |" + ("-", "", "+")[min(trailing, 2)] + "\n"
    for line in body.split("\n"):
        yield f"{indent}{line}\n" if line else "\n"
    yield "\n" * (trailing - 1)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
    if isinstance(value, float):
        # YAML 1.1 takes 1e-05 for a string: it wants a point.
        return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value, allow_nan=False))
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, (Mapping, list, tuple)):
        return "{}" if isinstance(value, Mapping) else "[]"
    raise TypeError(f"{type(value).__name__} is no value of a manifest")
