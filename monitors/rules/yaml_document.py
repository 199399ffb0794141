"""Reads a YAML text as plain values that remember their lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from monitors.errors import ConfigProblem

Location = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")


@dataclass
class YamlDocument:
    """The values of one file, the line of each, which came from the environment, and what is wrong."""

    file: str
    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    from_environment: dict[Location, str] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)

    def line_of(self, location: Location) -> int:
        """The line of the nearest written ancestor of a location."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def add_problem(self, location: Location, message: str) -> None:
        self.problems.append(ConfigProblem(self.file, self.line_of(location), dotted_path(location), message))


def dotted_path(location: Location) -> str:
    """("rules", 0, "action") as people read it: rules[0].action."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def read_document(text: str, file: str, env: Mapping[str, str]) -> YamlDocument:
    """Read one YAML document without running any tag, expanding ${NAME} in its text values."""
    document = YamlDocument(file)
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None:
            document.value = _Reader(loader, document, env).read(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        document.problems.append(ConfigProblem(file, line, "", f"not valid YAML: {error.problem or error.context}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        document.problems.append(ConfigProblem(file, line, "", "not valid YAML: a character that YAML forbids"))
    except RecursionError:
        document.problems.append(ConfigProblem(file, 1, "", "not valid YAML: nested too deeply; flatten it"))
    finally:
        if loader is not None:
            loader.dispose()
    return document


class _Reader:
    """Walks the node tree once, so that every value keeps the line it was written on."""

    def __init__(self, loader: yaml.SafeLoader, document: YamlDocument, env: Mapping[str, str]) -> None:
        self._loader, self._document, self._env = loader, document, env
        self._visited_nodes: set[int] = set()

    def read(self, node: yaml.Node, at: Location) -> Any:  # noqa: ANN401 - a YAML value may be anything
        self._document.lines.setdefault(at, node.start_mark.line + 1)
        if id(node) in self._visited_nodes:
            self._document.add_problem(at, "aliases (*name) are not supported; write the value out")
            return None
        self._visited_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.read(item, (*at, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, at)

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            here = (*at, key)
            line = key_node.start_mark.line + 1
            if key in values:
                first = self._document.lines[here]
                message = f"written twice (first on line {first}); keep one"
                self._document.problems.append(ConfigProblem(self._document.file, line, dotted_path(here), message))
                continue
            self._document.lines[here] = line
            values[key] = self.read(value_node, here)
        return values

    def _scalar(self, node: yaml.Node, at: Location) -> Any:  # noqa: ANN401 - a YAML scalar may be anything
        try:
            value = self._loader.construct_object(node)
        except (yaml.constructor.ConstructorError, ValueError):
            self._document.add_problem(at, "this value or tag cannot be read; write plain text or a number")
            return None
        return self._expand(value, at) if isinstance(value, str) else value

    def _expand(self, text: str, at: Location) -> str:
        def substitute(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if match[1] is None:
                self._document.add_problem(
                    at, "'${' opens a reference that never ends; write ${NAME} or $${ for the text"
                )
                return ""
            self._document.from_environment[at] = match[1]
            value = self._env.get(match[1])
            if match[2] is not None:
                return value or match[2]
            if value is None:
                message = f"environment variable {match[1]} is not set; set it, or write ${{{match[1]}:-default}}"
                self._document.add_problem(at, message)
                return ""
            return value

        return _REFERENCE.sub(substitute, text)
