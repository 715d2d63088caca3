"""S5: characters that cannot be seen, or that turn the text around, are shown as marks, on every page, whoever wrote them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client

from tests.security.test_matrix import BACKEND
from tests.security.test_pages import pages
from tests.security.world import build

ODD = ("\u202e", "\u200b", "\u2066", "\ufeff", "\U000e0041")
WRITTEN = {"textarea", "option", "title", "script"}  # where a mark would change what is sent, or where no element can stand


class Shown(HTMLParser):
    """The text of a page as a person sees it; what stands in a field of a form is left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.within: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in WRITTEN or dict(attrs).get("hidden", "no") != "no":
            self.within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.within and self.within[-1] == tag:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if not self.within and any(odd in data for odd in ODD):
            self.found.append(data.strip()[:60])


def test_no_page_shows_what_cannot_be_seen(people: Any, sandbox: Any, data_folder: Any, client: Client) -> None:
    odd = "".join(ODD)
    people.home.name = f"Home{odd}x"
    people.home.save()
    cells = "\n".join(["ticket,text" + odd, *(f"{i},cell{odd}{i}" for i in range(12))]).encode()
    world = build(people, sandbox, lambda plain: f"{plain}{odd}x", cells)
    client.force_login(people.owner, backend=BACKEND)
    wrong, marks = {}, 0
    for name, response in pages(world, client):
        if not response.get("Content-Type", "").startswith("text/html"):
            continue
        text = response.content.decode()
        shown = Shown()
        shown.feed(text)
        marks += text.count("U+202E")
        if shown.found:
            wrong[name] = sorted(set(shown.found))[:4]
    assert wrong == {}
    assert marks > 40
