"""The sandbox's own door, `/_control`: faults, time, the log. No provider has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.sandbox import orders
from jobs.sandbox.clockwork import LIVE

if TYPE_CHECKING:
    from jobs.sandbox.app import App

SETTINGS = ("seconds", "enqueued_tokens", "rpm")


def act(app: App, action: str, payload: dict[str, Any]) -> Any:
    """Carry out one action; its answer as plain data. Raises ValueError."""
    actions = {
        "": state,
        "arm": arm,
        "disarm": disarm,
        "set": configure,
        "revoke": revoke,
        "restore": restore,
        "advance": advance,
        "end": end,
        "settle": settle,
        "executed": executed,
        "calls": calls,
        "reset": reset,
    }
    if action not in actions:
        raise ValueError(f"no such action: {action}; there are {', '.join(filter(None, actions))}")
    return actions[action](app, payload)


def state(app: App, payload: dict[str, Any]) -> Any:
    """Everything that is small: batches, files, armed faults, settings, how often each verb was called."""
    with app.store.lock:
        batches = [
            {
                **{k: b[k] for k in ("id", "manner", "model", "orders", "status", "total", "created", "input_file_id", "metadata")},
                "live": b["status"] in LIVE,
                "result": b["result"],
            }
            for b in app.store.batches.values()
        ]
        return {
            "now": app.clock.now(),
            "batches": batches,
            "files": list(app.store.files.values()),
            "faults": app.armed.all(),
            "settings": {name: app.store.setting(name) for name in SETTINGS},
            "calls": dict(app.calls),
        }


def arm(app: App, payload: dict[str, Any]) -> Any:
    """Arm a wire fault (see faults.Armed) or orders; `{"id": n}`."""
    if "orders" in payload:
        orders.parse(payload["orders"])
    return {"id": app.armed.arm(payload)}


def disarm(app: App, payload: dict[str, Any]) -> Any:
    app.armed.disarm(payload.get("id"))
    return {"faults": app.armed.all()}


def configure(app: App, payload: dict[str, Any]) -> Any:
    """`seconds`, `enqueued_tokens` {model: n}, `rpm` {model: n}."""
    for name, value in payload.items():
        if name not in SETTINGS:
            raise ValueError(f"no such setting: {name}")
        app.store.set(name, value)
    return {name: app.store.setting(name) for name in SETTINGS}


def revoke(app: App, payload: dict[str, Any]) -> Any:
    from jobs.sandbox.app import fingerprint

    app.store.set("revoked", [*app.store.setting("revoked", []), fingerprint(payload["key"])])
    return {"revoked": len(app.store.setting("revoked"))}


def restore(app: App, payload: dict[str, Any]) -> Any:
    """Take every revoked key back."""
    app.store.set("revoked", [])
    return {"revoked": 0}


def advance(app: App, payload: dict[str, Any]) -> Any:
    """Move the provider's clock on by `seconds` and let everything due happen."""
    app.store.set("offset", float(app.store.setting("offset", 0.0)) + float(payload.get("seconds", 0)))
    return settle(app, payload)


def end(app: App, payload: dict[str, Any]) -> Any:
    """End a batch (`batch`, or every live one) now as `status` completed | expired | cancelled with `share` of its rows run."""
    status, only = payload.get("status", "completed"), payload.get("batch")
    if status not in ("completed", "expired", "cancelled"):
        raise ValueError(f"a batch cannot be ended as {status}")
    share = 1.0 if status == "completed" else float(payload.get("share", 0.5))
    with app.store.lock:
        for batch in app.store.batches.values():
            if batch["status"] in LIVE and only in (None, batch["id"]):
                batch["force"] = {"status": status, "share": share}
                app.store.put("batch", batch)
    return settle(app, payload)


def settle(app: App, payload: dict[str, Any]) -> Any:
    """Wait until nothing is due and nothing runs; the status of every batch."""
    app.clock.settle(float(payload.get("timeout", 60)))
    with app.store.lock:
        return {batch["id"]: batch["status"] for batch in app.store.batches.values()}


def executed(app: App, payload: dict[str, Any]) -> Any:
    """Every row that ran, in a batch or directly: `[{batch, custom_id, body, status, paid}]`, `body` a hash of the request.

    A status of 200 is paid. Rows that never ran (expired, cancelled, lost) are not here.
    """
    rows: list[dict[str, Any]] = []
    paths = sorted(app.store.folder.glob("batches/*/executed"), key=lambda path: path.stat().st_mtime_ns)  # deleted batches too
    for path in paths:
        batch_id = path.parent.name
        if payload.get("batch") in (None, batch_id):
            for line in path.read_text("utf-8").split("\n")[:-1]:
                custom_id, body, status = line.rsplit("\t", 2)
                rows.append({"batch": batch_id, "custom_id": custom_id, "body": body, "status": int(status), "paid": status == "200"})
    return rows if payload.get("batch") else rows + app.store.logged("direct")


def calls(app: App, payload: dict[str, Any]) -> Any:
    """Every create, cancel and direct call that was carried out: verb, time, body hash, batch, rows, and the faults that fell."""
    verb = payload.get("verb")
    return [call for call in app.store.logged("calls") if verb in (None, call["verb"])]


def reset(app: App, payload: dict[str, Any]) -> Any:
    """Forget batches, files, faults, settings and logs."""
    app.clock.settle()
    app.store.reset()
    app.calls.clear()
    app.recent.clear()
    app.cache.seen.clear()
    return {}
