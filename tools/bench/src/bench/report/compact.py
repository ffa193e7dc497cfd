"""Makes matplotlib's SVG smaller: coordinates to a tenth of a point, and shared styles written once."""

import hashlib
import re

LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}(?![\d.])")
TAG = re.compile(r"<[^>]*>")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINE_END = re.compile(r"\s*\n\s*")
UNUSED_ID = re.compile(r' id="(?![pm][0-9a-f]{10})[^"]*"')  # clip paths and markers are referred to
STYLE = re.compile(r' style="([^"]*)"')
LONE_GROUP = re.compile(r"<g>((?:<(?:path|use)[^>]*/>)*)</g>")
COMMAND = re.compile(r"([ML]) (-?[\d.]+) (-?[\d.]+) ?")


def compact(svg: str) -> str:
    """The same picture in about 40 % of the bytes.

    Classes are named after their content, so that several pictures can stand in one page.
    """
    text = COMMENT.sub("", svg)
    text = TAG.sub(lambda tag: LONG_NUMBER.sub(_rounded, tag[0]), text)
    text = LINE_END.sub(" ", text).replace("> <", "><")
    text = UNUSED_ID.sub("", text)
    while (shorter := LONE_GROUP.sub(r"\1", text)) != text:
        text = shorter
    text = COMMAND.sub(r"\1\2 \3", text)
    return _styles_told_once(text)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}".removesuffix(".0")


def _styles_told_once(text: str) -> str:
    styles: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        style = found[1].replace(": ", ":").replace("; ", ";")
        label = "s" + hashlib.sha256(style.encode()).hexdigest()[:8]
        styles[label] = style
        return f' class="{label}"'

    text = STYLE.sub(name, text)
    rules = "".join(f".{label}{{{style}}}" for label, style in sorted(styles.items()))
    end = text.index(">", text.index("<svg")) + 1
    return f"{text[:end]}<style>{rules}</style>{text[end:]}"
