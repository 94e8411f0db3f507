"""YAML text to plain data that remembers where each key stands, for files that nobody has checked yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from comfyui_exporter.config.describe import dotted, quoted
from comfyui_exporter.config.errors import Problem

Path = tuple[str | int, ...]
Place = tuple[int, int]

DEEPEST = 32
"""Levels of nesting; the deepest key of ours stands at the fourth."""
MOST_VALUES = 100_000
"""Values after aliases are followed: a thousand servers need a tenth, a bomb of aliases billions."""

_PREFIX = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """The data of a file and the places of its keys."""

    file: str
    data: object = None
    places: dict[Path, Place] = field(default_factory=dict)
    """Line and column, from 1, of keys in mappings and of items in lists."""
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Where a key stands, else what it would stand in."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def problem(self, path: Path, message: str) -> Problem:
        """Something to say about the key at this path."""
        line, column = self.place(path)
        return Problem(self.file, line, column, dotted(path), message)


class _TooDeepError(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    """Composes nodes, refusing nesting that would exhaust the stack."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _TooDeepError(problem=f"nested more than {DEEPEST} levels deep", problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _TooManyError(Exception):
    pass


def read_document(text: str, file: str) -> Document:
    """Parses the text; what is wrong with it as YAML is in `problems`, and the data holds the rest."""
    document = Document(file)
    try:
        root = _Loader(text).get_single_node()
        if root is not None:
            _Reader(document).read(root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        document.problems.append(Problem(file, line, column, "", message))
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(error, file))
    except _TooManyError:
        message = f"holds more than {MOST_VALUES} values once its aliases are followed"
        document.problems.append(Problem(file, 1, 1, "", message))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, IndexError) as error:
        # PyYAML lets a few of Python's own errors through, for instance for the escape "\UFFFFFFFF".
        document.problems.append(Problem(file, 1, 1, "", f"cannot be read as YAML: {error}"))
    return document


@dataclass(slots=True)
class _Reader:
    """Turns nodes into data, one file, once."""

    document: Document
    left: int = MOST_VALUES
    open_nodes: list[yaml.Node] = field(default_factory=list)

    def read(self, root: yaml.Node) -> None:
        self.document.places[()] = _place(root)
        self.document.data = self._value(root, ())

    def _value(self, node: yaml.Node, path: Path) -> object:
        self.left -= 1
        if self.left < 0:
            raise _TooManyError
        if any(node is opened for opened in self.open_nodes):
            self._complain(node, path, "contains itself through an alias")
            return None
        self.open_nodes.append(node)
        try:
            match node:
                case yaml.MappingNode() if node.tag == _PREFIX + "map":
                    return self._mapping(node, path)
                case yaml.SequenceNode() if node.tag == _PREFIX + "seq":
                    return self._list(node, path)
                case yaml.ScalarNode():
                    return self._scalar(node, path)
                case _:
                    self._complain(node, path, f"has the tag {quoted(_tag(node))}; leave the tag out")
                    return None
        finally:
            self.open_nodes.pop()

    def _list(self, node: yaml.SequenceNode, path: Path) -> list[object]:
        items = []
        for index, item in enumerate(node.value):
            self.document.places[*path, index] = _place(item)
            items.append(self._value(item, (*path, index)))
        return items

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                for source in self._merged(value_node, path):
                    result |= self._mapping(source, path)
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line, column = _place(key_node)
            if key_node.tag == _PREFIX + "merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "a key has to be text; quote text that starts with { or [")
                continue
            if key in lines:
                self._complain(
                    key_node, (*path, key), f"stands twice in one mapping, first in line {lines[key]}; keep one"
                )
                continue
            lines[key] = line
            self.document.places[*path, key] = (line, column)
            value = self._value(value_node, (*path, key))
            # A key without a value is a key left out, so that its default can stand there as a comment.
            if value is None:
                result.pop(key, None)
            else:
                result[key] = value
        return result

    def _merged(self, node: yaml.Node, path: Path) -> Iterator[yaml.MappingNode]:
        """What `<<` brings in: earlier ones win, therefore last."""
        for source in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            self.left -= len(source.value) + 1
            if self.left < 0:
                raise _TooManyError
            if isinstance(source, yaml.MappingNode) and not any(source is opened for opened in self.open_nodes):
                yield source
            else:
                self._complain(source, path, "<< takes a mapping, or a list of them, by alias")

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        text = node.value
        value: object = None
        try:
            match node.tag.removeprefix(_PREFIX):
                case "null":
                    pass
                case "bool":
                    value = yaml.SafeLoader.bool_values[text.lower()]
                case "int":
                    value = yaml.SafeLoader("").construct_yaml_int(node)
                case "float":
                    value = yaml.SafeLoader("").construct_yaml_float(node)
                case "str" | "timestamp" | "value" if _is_half_a_character(text):
                    self._complain(node, path, "holds half of a surrogate pair, which is no character")
                case "str" | "timestamp" | "value":
                    # No key of ours is a date: 2026-01-01 is the name of something.
                    value = text
                case _:
                    self._complain(node, path, f"has the tag {quoted(_tag(node))}; leave the tag out")
        except (ValueError, KeyError, IndexError, OverflowError):
            self._complain(node, path, f"{quoted(text)} is not a value of YAML's type {_tag(node)}; put text in quotes")
        return value

    def _complain(self, node: yaml.Node, path: Path, message: str) -> None:
        line, column = _place(node)
        self.document.problems.append(Problem(self.document.file, line, column, dotted(path), message))


def _is_half_a_character(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _tag(node: yaml.Node) -> str:
    return node.tag.replace(_PREFIX, "!!", 1)


_HINTS = {
    "found character '\\t'": "YAML indents with spaces, not with tabs",
    "found unknown escape character": 'write regular expressions in single quotes: inside "..." the \\ is YAML\'s own',
    "found undefined alias": "text that starts with * needs quotes",
    "while scanning an alias": "text that starts with * needs quotes",
    "found character '%'": "text that starts with % needs quotes",
    "found character '@'": "text that starts with @ needs quotes",
    "found character '`'": "text that starts with ` needs quotes",
    "mapping values are not allowed here": "a colon before a space starts a value: check the indentation, or quote",
    "expected <block end>": "check the indentation: keys of one mapping start in one column",
    "but found another document": "the file may hold one document: remove the lines ---",
}


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(part for part in (error.context, error.problem) if part)
    message = f"is not valid YAML: {what}"
    for sign, hint in _HINTS.items():
        if sign in what:
            message += f" ({hint})"
            break
    return Problem(file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, "", message)
