// Regions that refresh themselves: [data-live="seconds"] with hx-trigger="live". The server sets the pace by data-live and ends it by
// leaving it out. A refresh never takes focus, selection, open folds, ticks or scroll; it waits while a person is in the middle of something.
import { ago, say } from "./parts.js";

const KEY = "live-paused";
let paused = sessionStorage.getItem(KEY) === location.pathname;
const asked = new Map(); // id -> time of the last question
const fresh = new Map(); // id -> time of the last answer
const quiet = new Map(); // id -> answers in a row without news
let late = false;
let stretch = 1; // a server that has many pages open asks each of them for patience, by a header

const regions = () => document.querySelectorAll("[data-live]");

function busy(region) {
  const selection = getSelection();
  if (selection && !selection.isCollapsed && region.contains(selection.anchorNode)) return true;
  if (region.querySelector("dialog[open], :popover-open")) return true;
  const active = document.activeElement;
  return region.contains(active) && active.matches("input:not([type=checkbox]), select, textarea");
}

// Where nothing happens, questions become rarer, up to one in half a minute: 200 open pages must not keep a server busy.
const pace = (region) => {
  const every = Number(region.dataset.live);
  return Math.min(Math.max(every, 60), Math.min(Math.max(every, 30), every * 1.3 ** (quiet.get(region.id) ?? 0)) * stretch) * 1000;
};

function tick() {
  const now = Date.now();
  for (const region of regions()) {
    if (!fresh.has(region.id)) { fresh.set(region.id, now); asked.set(region.id, now); }
    const due = now - (asked.get(region.id) ?? 0) >= pace(region) * (late ? 3 : 1);
    if (due && !paused && !document.hidden && !busy(region)) {
      asked.set(region.id, now);
      window.htmx?.trigger(region, "live");
    }
  }
  showLines();
}

function showLines() {
  for (const line of document.querySelectorAll("[data-live-line]")) {
    const region = line.closest("[data-live]");
    if (!region) continue;
    const text = late ? `The server does not answer; last updated ${ago(fresh.get(region.id))}` : `${paused ? "Paused; updated" : "Updated"} ${ago(fresh.get(region.id) ?? Date.now())}`;
    const said = line.querySelector("[data-live-said]");
    if (said.textContent !== text) said.textContent = text;
    line.toggleAttribute("data-paused", paused);
    line.toggleAttribute("data-late", late);
    const button = line.querySelector("[data-pause]");
    const word = paused ? "Go on" : "Pause";
    if (button.textContent !== word) button.textContent = word;
    button.setAttribute("aria-pressed", String(paused));
  }
}

export function togglePause() {
  if (!regions().length) return;
  paused = !paused;
  if (paused) sessionStorage.setItem(KEY, location.pathname);
  else { sessionStorage.removeItem(KEY); asked.clear(); quiet.clear(); }
  say(paused ? "Live updates paused" : "Live updates on");
  tick();
}

const path = (el, root) => {
  if (el.id) return `#${CSS.escape(el.id)}`;
  const steps = [];
  for (let at = el; at && at !== root; at = at.parentElement) steps.unshift(`:nth-child(${[...at.parentElement.children].indexOf(at) + 1})`);
  return `:scope > ${steps.join(" > ")}`;
};
const named = (el) => el.dataset.keep || el.closest("[data-id]")?.dataset.id && `${el.closest("[data-id]").dataset.id}/${el.name || el.tagName}` || null;

function remember(region) {
  const active = document.activeElement;
  return {
    focus: region.contains(active) ? path(active, region) : null,
    range: active?.selectionStart !== undefined ? [active.selectionStart, active.selectionEnd] : null,
    folds: [...region.querySelectorAll("details")].map((d) => [named(d) || path(d, region), d.open]),
    ticks: [...region.querySelectorAll("input[type=checkbox]:checked")].map((b) => [b.name, b.value]),
    scrolls: [...region.querySelectorAll(".table-wrap, pre, [data-scroll]")].map((e) => [path(e, region), e.scrollTop, e.scrollLeft]),
    at: region.querySelector("tr[data-at]")?.dataset.id,
    state: region.dataset.said,
  };
}

function recall(region, was) {
  const folds = new Map(was.folds);
  for (const d of region.querySelectorAll("details")) { const open = folds.get(named(d) || path(d, region)); if (open !== undefined) d.open = open; }
  for (const b of region.querySelectorAll("input[type=checkbox]")) if (was.ticks.some(([n, v]) => n === b.name && v === b.value)) b.checked = true;
  for (const [where, top, left] of was.scrolls) { const e = find(region, where); if (e) { e.scrollTop = top; e.scrollLeft = left; } }
  if (was.at) region.querySelector(`tr[data-id="${CSS.escape(was.at)}"]`)?.setAttribute("data-at", "");
  const focus = was.focus && find(region, was.focus);
  if (focus) { focus.focus({ preventScroll: true }); if (was.range?.[0] != null) focus.setSelectionRange?.(...was.range); }
  // A change of state is spoken once: the server prints it as data-said="Completed with failures".
  if (region.dataset.said && region.dataset.said !== was.state) say(region.dataset.said);
  if (was.ticks.length) region.dispatchEvent(new Event("change", { bubbles: true }));
}

function find(region, where) {
  try { return where.startsWith("#") ? document.querySelector(where) : region.querySelector(where); } catch { return null; }
}

const before = new Map();
export function startLive() {
  document.addEventListener("htmx:beforeSwap", (e) => {
    const region = e.detail.target?.closest?.("[data-live]");
    if (!region || !e.detail.requestConfig?.elt?.hasAttribute("data-live")) return;
    if (busy(region)) e.detail.shouldSwap = false;
    else before.set(region.id, remember(region));
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const [id, was] of before) { const region = document.getElementById(id); if (region) recall(region, was); before.delete(id); }
    showLines();
  });
  document.addEventListener("htmx:afterRequest", (e) => {
    const id = e.detail.elt?.id;
    if (!e.detail.requestConfig?.elt?.hasAttribute?.("data-live")) return;
    late = !e.detail.successful;
    if (!e.detail.successful) return;
    stretch = Math.max(1, Number(e.detail.xhr.getResponseHeader("Live-Stretch")) || 1);
    fresh.set(id, Date.now());
    quiet.set(id, e.detail.xhr.status === 204 ? (quiet.get(id) ?? 0) + 1 : 0);
  });
  document.addEventListener("click", (e) => e.target.closest("[data-pause]") && togglePause());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { asked.clear(); quiet.clear(); for (const r of regions()) asked.set(r.id, 0); tick(); } });
  setInterval(tick, 1000);
  tick();
}
