// The prompt editor: the preview follows the typing, chips insert columns, problems lead to their line, and unsaved work is not lost unasked.
const PAUSE = 350;
const form = document.querySelector("form[data-editor]");
let at = document.getElementById("id_user"); // where a chip goes: the template that was written in last
let waiting, sent = false;

const state = () => JSON.stringify([...new FormData(form)].filter(([name]) => !["csrfmiddlewaretoken", "at", "columns_of", "act"].includes(name)));
const before = form.hasAttribute("data-dirty") ? "" : state();
const dirty = () => !sent && state() !== before;

function show() {
  form.querySelector("[data-unsaved]").hidden = !dirty();
}

function preview(pause) {
  clearTimeout(waiting);
  waiting = setTimeout(() => window.htmx?.trigger("#editor", "preview"), pause);
}

// Replaces the selection as typing would, so that undo takes it back.
function put(field, text) {
  field.focus();
  if (document.execCommand?.("insertText", false, text)) return;
  field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function lineRange(text, line) {
  const lines = text.split("\n");
  const start = lines.slice(0, line - 1).reduce((n, each) => n + each.length + 1, 0);
  return [start, start + (lines[line - 1] ?? "").length];
}

function goTo(field, line, name) {
  let [from, to] = lineRange(field.value, line);
  const found = name ? field.value.indexOf(name, from) : -1;
  if (found >= 0 && found < to) [from, to] = [found, found + name.length];
  field.focus();
  field.setSelectionRange(from, to);
}

const word = (name) => new RegExp(`(?<![\\p{L}\\p{N}_])${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?![\\p{L}\\p{N}_])`, "u");

// Inside braces only: the same word in the running text stays.
function fix(field, name, instead) {
  for (const found of field.value.matchAll(/\{\{[\s\S]*?\}\}|\{%[\s\S]*?%\}/g)) {
    const spot = found[0].search(word(name));
    if (spot < 0) continue;
    field.focus();
    field.setSelectionRange(found.index + spot, found.index + spot + name.length);
    put(field, instead);
    return fix(field, name, instead);
  }
}

function click(event) {
  const chip = event.target.closest("[data-chip]");
  if (chip) put(at, `{{ ${chip.dataset.chip} }}`);
  const line = event.target.closest("[data-line]");
  if (line) goTo(document.getElementById(line.dataset.in), Number(line.dataset.line), line.dataset.name);
  const cure = event.target.closest("[data-fix]");
  if (cure && cure.dataset.fix !== cure.dataset.name) fix(document.getElementById(cure.dataset.in), cure.dataset.name, cure.dataset.fix);
}

if (form) {
  form.addEventListener("click", click);
  form.addEventListener("focusin", (e) => { if (e.target.matches("[data-insert]")) at = e.target; });
  form.addEventListener("input", (e) => { show(); if (e.target.matches("[data-preview]")) preview(e.target.matches("textarea") ? PAUSE : 0); });
  form.addEventListener("change", show);
  form.addEventListener("submit", () => { sent = true; });
  form.addEventListener("keydown", (e) => { if (e.key === "s" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); form.requestSubmit(form.querySelector("button[value=save]")); } });
  window.addEventListener("pageshow", () => { sent = false; });
  window.addEventListener("beforeunload", (e) => { if (dirty()) e.preventDefault(); });
  show();
}
