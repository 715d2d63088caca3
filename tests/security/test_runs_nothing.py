"""S17, S19, S20 in Chromium: hostile names, cells, answers and errors on the main pages run nothing, make no node and call nobody."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from tests.security.test_pages import PAYLOADS, hostile_table, names
from tests.security.world import build

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PAGES = [
    "home",
    "job-list",
    "job-detail",
    "job-rows",
    "job-row",
    "job-failures",
    "dataset-detail",
    "prompt-detail",
    "connection-list",
    "costs",
]


def test_hostile_text_runs_nothing(page: Any, live_server: Any, client: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    some = names()
    people.home.name = PAYLOADS[3]
    people.home.save()
    world = build(people, sandbox, lambda plain: f"{next(some)}", hostile_table())
    client.force_login(people.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    wrong: list[str] = []

    def told(dialog: Any) -> None:
        wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("dialog", told)
    page.on("request", lambda asked: None if asked.url.startswith((live_server.url, "data:")) else wrong.append(f"request {asked.url}"))
    page.on("pageerror", lambda error: wrong.append(f"error {error}"))
    page.add_init_script("window.x = (n) => { window.hit = n; };")
    seen = 0
    for each in PAGES:
        page.goto(live_server.url + world.url(each))
        for fold in page.locator("details:not([open]) > summary").all()[:6]:
            if fold.is_visible():
                fold.click()
        page.wait_for_load_state("networkidle")
        found = page.evaluate(
            """() => ({ hit: window.hit || 0, text: document.body.innerText,
                nodes: [...document.querySelectorAll('iframe,object,embed,base,math,marquee,video,audio,[id^=evil],img,'
                    + '[onload],[onerror],[onclick]')]
                    .map((node) => node.outerHTML.slice(0, 80)),
                links: [...document.querySelectorAll('[href],[src],[action]')].map((n) => n.href || n.src || n.action)
                    .filter((url) => typeof url === 'string' && /^javascript:|evil/.test(url)) })"""
        )
        seen += sum(payload[:14] in found["text"] for payload in PAYLOADS)
        wrong += [f"{each}: {key} {found[key]}" for key in ("hit", "nodes", "links") if found[key]]
    assert wrong == []
    assert seen > 40
