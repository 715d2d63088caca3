"""`{% icon "check" %}`: an icon of the lucide package inlined as SVG, out of a cache; a small built-in set stands in for it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from django import template
from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

# The words of words.py (and a few of ours) to the package's names.
NAMES = {
    "half": "contrast",
    "alert": "triangle-alert",
    "cross": "x",
    "dash": "minus",
    "question": "circle-question-mark",
    "home": "house",
    "jobs": "layers",
    "datasets": "table-2",
    "prompts": "message-square-text",
    "costs": "receipt",
    "connections": "plug",
    "workspace": "users",
    "theme": "sun-moon",
    "more": "ellipsis",
    "sort": "chevrons-up-down",
    "up": "chevron-up",
    "down": "chevron-down",
    "left": "chevron-left",
    "right": "chevron-right",
    "first": "chevrons-left",
    "last": "chevrons-right",
    "retry": "rotate-ccw",
    "launch": "rocket",
}
SHAPE = re.compile(r"<(path|circle|rect|line|polyline|polygon|ellipse)\s+([^>]*?)/?>")
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
GEOMETRY = {"d", "cx", "cy", "r", "rx", "ry", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "points"}

# Where the package is not installed: enough to keep every status apart. Any other name is a small dot.
BUILT_IN = {
    "circle": '<circle cx="12" cy="12" r="9"/>',
    "half": '<circle cx="12" cy="12" r="9"/><path d="M12 7v10a5 5 0 0 0 0-10z"/>',
    "check": '<path d="M4.5 12.5 10 18 19.5 7"/>',
    "alert": '<path d="M12 4 3 20h18z"/><path d="M12 10v4"/><path d="M12 17v.2"/>',
    "cross": '<path d="M6 6 18 18"/><path d="M18 6 6 18"/>',
    "dash": '<path d="M5 12h14"/>',
    "clock": '<circle cx="12" cy="12" r="9"/><path d="M12 7v5.2l3.4 2"/>',
    "question": '<circle cx="12" cy="12" r="9"/><path d="M9.4 9.4a2.7 2.7 0 1 1 3.6 2.5q-1 .5-1 1.7"/><path d="M12 17v.2"/>',
    "menu": '<path d="M4 6.5h16"/><path d="M4 12h16"/><path d="M4 17.5h16"/>',
    "more": '<circle cx="6" cy="12" r="1"/><circle cx="12" cy="12" r="1"/><circle cx="18" cy="12" r="1"/>',
    "up": '<path d="m6 15 6-6 6 6"/>',
    "down": '<path d="m6 9 6 6 6-6"/>',
    "left": '<path d="m15 6-6 6 6 6"/>',
    "right": '<path d="m9 6 6 6-6 6"/>',
    "search": '<circle cx="11" cy="11" r="6.5"/><path d="m20 20-4.3-4.3"/>',
    "copy": '<rect x="9" y="9" width="11" height="11" rx="2"/><path d="M15 5H6a1.5 1.5 0 0 0-1.5 1.5V15"/>',
    "plus": '<path d="M12 5v14"/><path d="M5 12h14"/>',
}
DOT = '<circle cx="12" cy="12" r="2"/>'


def shapes(name: str) -> str:
    """The SVG shapes of an icon as they stand in the package, else in the built-in set, else a dot."""
    folder = getattr(settings, "ICON_DIR", None)
    file = Path(folder) / f"{NAMES.get(name, name)}.svg" if folder and re.fullmatch(r"[a-z0-9-]+", name) else None
    if file is not None and file.is_file():
        return file.read_text(encoding="utf-8")
    return BUILT_IN.get(name, DOT)


@register.simple_tag
@lru_cache(maxsize=300)
def icon(name: str, size: str = "") -> SafeString:
    """An icon beside words, hidden from screen readers. `size` is empty (as the text) or `l` (20 px)."""
    parts = (
        (tag, format_html_join("", ' {}="{}"', ((k, v) for k, v in ATTRIBUTE.findall(attributes) if k in GEOMETRY)))
        for tag, attributes in SHAPE.findall(shapes(name))
    )
    return format_html(
        '<svg class="icon{}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-linecap="round" stroke-linejoin="round"'
        ' aria-hidden="true" focusable="false">{}</svg>',
        (f" icon-{size}" if size else "") + (" icon-half" if name == "half" else ""),
        format_html_join("", "<{}{}/>", parts),
    )
