"""Members and roles, joining by link, workspaces, prices, the audit log, time zones."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.engine.members import join_path
from jobs.models import AuditEntry, Membership, PriceOverride, Workspace
from jobs.words import Role

BACKEND = "django.contrib.auth.backends.ModelBackend"


def roles(workspace: Workspace) -> dict[str, str]:
    return dict(workspace.memberships.values_list("user__username", "role"))


def test_a_new_member_gets_a_link_that_is_shown_once_and_works_once(as_owner: Any, people: Any) -> None:
    assert as_owner.post("/workspace/members/", {"username": "lena", "role": "analyst"}).status_code == 302
    page = as_owner.get("/workspace/")
    name, link = page.context["joined"]
    assert (name, link in page.content.decode()) == ("lena", True)
    assert as_owner.get("/workspace/").context["joined"] is None
    path = link.removeprefix("http://testserver")
    visitor = Client()
    assert visitor.post(path, {"new_password1": "short", "new_password2": "short"}).status_code == 422
    assert visitor.post(path, {"new_password1": "violet-harbour-7", "new_password2": "violet-harbour-7"})["Location"] == "/"
    assert visitor.get("/workspace/").status_code == 200
    assert Client().get(path).status_code == 404
    assert User.objects.get(username="lena").check_password("violet-harbour-7")
    assert roles(people.home)["lena"] == "analyst"


def test_an_account_of_others_is_never_handed_out(as_owner: Any, people: Any) -> None:
    """An admin who adds somebody else's member, even one without a password, gets no link to them."""
    stranger = User.objects.create_user("stranger")
    Membership.objects.create(workspace=people.away, user=stranger, role=Role.ADMIN)
    as_owner.post("/workspace/members/", {"username": "stranger", "role": "viewer"})
    assert as_owner.get("/workspace/").context["joined"] is None
    mine = Membership.objects.get(workspace=people.home, user=stranger)
    assert as_owner.post(f"/workspace/members/{mine.pk}/link/").status_code == 422
    assert Client().get(join_path(people.outsider)).status_code == 404  # has a password


def test_bad_members_are_422(as_owner: Any, people: Any) -> None:
    for data in ({"username": "viewer", "role": "analyst"}, {"username": "a b", "role": "analyst"}, {"username": "new", "role": "king"}):
        assert as_owner.post("/workspace/members/", data).status_code == 422
    assert roles(people.home) == {"owner": "admin", "analyst": "analyst", "viewer": "viewer"}


def test_a_workspace_keeps_an_admin(as_owner: Any, people: Any) -> None:
    me = Membership.objects.get(workspace=people.home, user=people.owner)
    assert as_owner.post(f"/workspace/members/{me.pk}/role/", {"role": "viewer"}).status_code == 422
    assert as_owner.post(f"/workspace/members/{me.pk}/remove/").status_code == 422
    other = Membership.objects.get(workspace=people.home, user=people.viewer)
    assert as_owner.post(f"/workspace/members/{other.pk}/role/", {"role": "admin"}).status_code == 302
    assert as_owner.post(f"/workspace/members/{me.pk}/remove/").status_code == 302
    assert roles(people.home) == {"analyst": "analyst", "viewer": "admin"}
    assert list(AuditEntry.objects.values_list("action", "target")) == [("member removed", "owner"), ("role changed", "viewer")]


def test_create_and_switch(as_owner: Any, people: Any) -> None:
    assert as_owner.post("/workspace/new/", {"new-name": " "}).status_code == 422
    assert as_owner.post("/workspace/new/", {"new-name": "Research"}).status_code == 302
    made = Workspace.objects.get(name="Research")
    assert (as_owner.get("/workspace/").context["workspace"], roles(made)) == (made, {"owner": "admin"})
    assert as_owner.post("/workspace/switch/", {"workspace": str(people.home.pk)})["Location"] == "/"
    assert as_owner.get("/workspace/").context["workspace"] == people.home
    assert as_owner.post("/workspace/switch/", {"workspace": str(people.away.pk)}).status_code == 404
    assert as_owner.post("/workspace/switch/", {"workspace": "x"}).status_code == 404


def test_name_and_cap(as_owner: Any, people: Any) -> None:
    assert as_owner.post("/workspace/save/", {"name": "Home", "monthly_cap_usd": "-1"}).status_code == 422
    assert as_owner.post("/workspace/save/", {"name": "Support", "monthly_cap_usd": "250.50"}).status_code == 302
    people.home.refresh_from_db()
    assert (people.home.name, people.home.monthly_cap_usd) == ("Support", Decimal("250.50"))
    assert "$0 of $250.50 is paid this month" in as_owner.get("/workspace/settings/").content.decode()
    as_owner.post("/workspace/save/", {"name": "Support", "monthly_cap_usd": ""})
    people.home.refresh_from_db()
    assert people.home.monthly_cap_usd is None


def test_time_zone_is_a_cookie_that_pages_obey(as_owner: Any, people: Any) -> None:
    assert as_owner.post("/workspace/zone/", {"zone": "Mars/Olympus"}).status_code == 422
    as_owner.cookies["tz"] = "America/New_York"
    as_owner.post("/workspace/zone/", {"zone": "Asia/Tokyo"})
    entry = AuditEntry.objects.create(workspace=people.home, action="launch", user=people.owner)
    AuditEntry.objects.filter(pk=entry.pk).update(created_at="2026-11-21T20:30:00Z")
    assert "22 Nov 2026, 05:30" in as_owner.get("/workspace/log/").content.decode()
    as_owner.post("/workspace/zone/", {"zone": ""})
    assert "21 Nov 2026, 15:30" in as_owner.get("/workspace/log/").content.decode()


def test_prices_are_entered_changed_and_removed(as_owner: Any, people: Any) -> None:
    price = {"kind": "openai", "model": "own", "input": "0.30", "output": "1.2", "batch_discount": "50"}
    assert as_owner.post("/workspace/prices/save/", price).status_code == 302
    saved = PriceOverride.objects.get()
    assert saved.prices == {"input": "0.30", "output": "1.2", "batch_discount": "0.5"}
    initial = as_owner.get("/workspace/prices/?kind=openai&model=own").context["form"].initial
    assert (initial["input"], initial["batch_discount"]) == ("0.30", "50")
    as_owner.post("/workspace/prices/save/", {**price, "input": "0.4"})
    assert PriceOverride.objects.get().prices["input"] == "0.4"
    assert as_owner.post(f"/workspace/prices/{saved.pk}/remove/").status_code == 302
    assert not PriceOverride.objects.exists()
    assert [entry.action for entry in AuditEntry.objects.all()] == ["price removed", "price changed", "price entered"]


@pytest.mark.parametrize(
    "change", [{"input": ""}, {"input": "-1"}, {"input": "0.1234567"}, {"batch_discount": "101"}, {"model": " "}, {"kind": "x"}]
)
def test_bad_prices_are_422(as_owner: Any, people: Any, change: dict[str, str]) -> None:
    price = {"kind": "openai", "model": "own", "input": "0.30", "output": "1.2", **change}
    assert as_owner.post("/workspace/prices/save/", price).status_code == 422
    assert not PriceOverride.objects.exists()


def test_query_counts(as_owner: Any, people: Any, django_assert_max_num_queries: Any) -> None:
    for path in ("/workspace/", "/workspace/settings/", "/workspace/prices/", "/workspace/log/"):
        with django_assert_max_num_queries(12):
            assert as_owner.get(path).status_code == 200
