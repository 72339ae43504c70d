"""Rich text as plain text, for channels that show nothing else."""

import re

from service.senders.markup.rich import RichText, Span
from service.senders.markup.writing import ZERO_WIDTH, spelled_out, tagged

_VK_MENTION = re.compile(r"(?<!\w)[@*](?=\w)|\[(?=[^\[\]\s|]{1,64}\|)")


def plain_text(rich: RichText) -> str:
    """The text; a link's address stands behind it in parentheses, other styles are left out."""

    def marks(span: Span) -> tuple[str, str]:
        return "", spelled_out(rich, span) if span.style == "link" else ""

    return tagged(rich, marks, str)


def vk_text(rich: RichText) -> str:
    """Plain text in which `@all`, `@id1`, `*id1` and `[id1|name]` mention nobody on VK."""
    return _VK_MENTION.sub(lambda found: found[0] + ZERO_WIDTH, plain_text(rich))
