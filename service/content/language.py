"""The language of templates: Jinja2's sandbox without what a notification does not need.

Only the standard library, jinja2 and babel: this runs in the rendering process.
"""

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Literal

from jinja2 import StrictUndefined, TemplateRuntimeError, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from service.content.filters import Filters

Format = Literal["plain", "markdown", "html"]

_TAGS: Mapping[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
    nodes.AssignBlock: "set … endset",
    nodes.ScopedEvalContextModifier: "autoescape",
}
# `safe` and its kin are left out: nothing that comes from params ever becomes markup.
_FILTERS = """
    abs batch capitalize center count dictsort first float format groupby int items join last length list lower
    map max min reject rejectattr replace reverse round select selectattr slice sort string sum title trim
    truncate unique upper wordcount wordwrap
"""


class Language(ImmutableSandboxedEnvironment):
    """How a title or body of that format is written. `filters_for_readers` knows for whom."""

    intercepted_binops = frozenset({"**"})

    def __init__(self, written_in: Format, filters_for_readers: Filters) -> None:
        escaped = _ESCAPES[written_in]

        @pass_context
        def shown(_: Context, value: Any) -> str:
            return escaped(filters_for_readers.text(value))

        super().__init__(undefined=StrictUndefined, finalize=shown, cache_size=0, keep_trailing_newline=True)
        self.filters = {name: FILTERS[name] for name in _FILTERS.split()}
        self.filters |= {"default": _default, "d": _default, "escape": _as_it_is, "e": _as_it_is}
        self.filters |= filters_for_readers.all()
        self.globals = {"range": self.globals["range"], "namespace": Namespace}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of an object comes before the methods of Python's dictionaries: `order.items`."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        raise TemplateRuntimeError(f"{operator} is not available in templates")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all(tuple(_TAGS)):
            raise TemplateSyntaxError(
                f"{{% {_TAGS[type(node)]} %}} is not available in templates", node.lineno, name, filename
            )
        return tree


def _default(value: Any, instead: Any = "", boolean: bool = False) -> Any:
    """An optional param that was left out is nothing, and so is an unknown key of an object."""
    return instead if isinstance(value, Undefined) or value is None or (boolean and not value) else value


def _as_it_is(value: Any) -> Any:
    """Everything is escaped already."""
    return value


_MARKUP = re.compile(r"[\\`*_\[\]()<>~|&!]")
# What begins a list, a heading, a rule or a table only at the beginning of a line.
_LINE_MARKUP = re.compile(r"^([0-9]{0,9})([.#+\-=:])", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]", re.MULTILINE)
_ENTITIES = {" ": "&#32;", "\t": "&#9;"}


def escape_markdown(text: str) -> str:
    """Text that CommonMark shows as it is, wherever in a document it stands."""
    text = _MARKUP.sub(r"\\\g<0>", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _LINE_MARKUP.sub(r"\1\\\2", text)
    return _INDENT.sub(lambda found: _ENTITIES[found[0]], text)


_ESCAPES: Mapping[Format, Callable[[str], str]] = {
    "plain": str,
    "html": escape,
    "markdown": escape_markdown,
}
