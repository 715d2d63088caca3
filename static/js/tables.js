// Work in tables: keys, ticking with shift, all matching rows, columns and their widths, cut cells.
const store = (name) => `table:${name}`;
const load = (name) => { try { return JSON.parse(localStorage.getItem(store(name))) || {}; } catch { return {}; } };
const save = (name, value) => { try { localStorage.setItem(store(name), JSON.stringify(value)); } catch { /* private window */ } };

let anchor = null; // the last ticked box, where a shift-range begins

export function table() {
  return document.querySelector("tr[data-at]")?.closest("table") || document.querySelector("table[data-keys]");
}

export function move(step) {
  const rows = [...(table()?.tBodies || [])].flatMap((b) => [...b.rows]);
  if (!rows.length) return;
  const at = rows.findIndex((r) => r.hasAttribute("data-at"));
  const to = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step))];
  rows[at]?.removeAttribute("data-at");
  to.setAttribute("data-at", "");
  to.scrollIntoView({ block: "nearest" });
  (to.querySelector("a.title") || to.querySelector("a, button, input"))?.focus({ preventScroll: true });
}

export function open() {
  document.querySelector("tr[data-at] a.title")?.click();
}

export function tick(shift) {
  const box = document.querySelector("tr[data-at] .tick input");
  if (!box) return;
  box.checked = !box.checked;
  ticked(box, shift);
}

function boxes(form) {
  return [...form.querySelectorAll("tbody .tick input[type=checkbox]")];
}

function ticked(box, shift) {
  const form = box.form;
  const all = boxes(form);
  if (shift && anchor && anchor.form === form) {
    const [a, b] = [all.indexOf(anchor), all.indexOf(box)].sort((x, y) => x - y);
    if (a >= 0) for (const other of all.slice(a, b + 1)) other.checked = box.checked;
  }
  anchor = box;
  count(form, false);
}

function count(form, everything) {
  const all = boxes(form);
  const chosen = all.filter((b) => b.checked);
  for (const b of all) b.closest("tr").setAttribute("aria-selected", String(b.checked));
  const head = form.querySelector("[data-tick-all]");
  if (head) { head.checked = chosen.length > 0 && chosen.length === all.length; head.indeterminate = chosen.length > 0 && chosen.length < all.length; }
  const bar = form.querySelector("[data-bulk]");
  if (!bar) return;
  const field = bar.querySelector("[data-all-field]");
  if (field) field.value = everything ? "1" : "";
  bar.hidden = !chosen.length;
  bar.querySelector("[data-n]").textContent = (everything ? Number(field.dataset.total) : chosen.length).toLocaleString("en-US");
  const more = bar.querySelector("[data-all]");
  if (more) more.hidden = everything || Number(field.dataset.total) <= chosen.length;
}

function setAll(form, on, everything) {
  for (const b of boxes(form)) b.checked = on;
  count(form, everything);
}

// The cells of a row, one for each column: a cell that spans several (data-span) stands for each of them.
function byColumn(row) {
  return [...row.cells].flatMap((c) => Array(Number(c.dataset.span || 1)).fill(c));
}

// Columns: which are shown, and how wide; kept in this browser under the table's name.
function dressColumns(el) {
  const name = el.dataset.table;
  const kept = load(name);
  const heads = [...el.tHead.rows[0].cells];
  for (const [i, th] of heads.entries()) {
    const key = th.dataset.col;
    if (!key) continue;
    const off = (kept.off || []).includes(key);
    th.hidden = off;
    size(el, i, kept.widths?.[key]);
    if (!th.querySelector(".col-size")) { const grip = document.createElement("span"); grip.className = "col-size"; grip.setAttribute("aria-hidden", "true"); th.append(grip); }
  }
  for (const body of el.tBodies) for (const row of body.rows) hide(row, heads);
  const menu = document.querySelector(`[data-columns="${CSS.escape(name)}"]`);
  if (menu && !menu.childElementCount) fillMenu(menu, el, name, kept);
}

function hide(row, heads) {
  const cells = byColumn(row);
  if (cells.length !== heads.length) return;
  for (const [i, cell] of cells.entries()) if (heads[i].dataset.col && !cell.dataset.span) cell.hidden = heads[i].hidden;
  const wide = cells.find((c) => c.dataset.span);
  if (!wide) return;
  const shown = cells.filter((c, i) => c === wide && !heads[i].hidden).length;
  wide.hidden = !shown;
  wide.colSpan = shown || 1;
}

function size(el, i, width) {
  const px = width ? `${width}px` : "";
  const th = el.tHead.rows[0].cells[i];
  th.style.width = th.style.minWidth = px;
  for (const body of el.tBodies) for (const row of body.rows) { const at = byColumn(row)[i]; const cell = at?.dataset.span ? null : at?.querySelector(".cell"); if (cell) cell.style.maxWidth = px; }
}

function fillMenu(menu, el, name, kept) {
  for (const th of el.tHead.rows[0].cells) {
    if (!th.dataset.col) continue;
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", value: th.dataset.col, checked: !(kept.off || []).includes(th.dataset.col) });
    const named = th.textContent.trim();
    label.append(box, named);
    const width = Object.assign(document.createElement("input"), { type: "number", className: "input", min: 60, max: 2000, step: 20, value: kept.widths?.[th.dataset.col] ?? "", placeholder: "auto" });
    width.dataset.width = th.dataset.col;
    width.setAttribute("aria-label", `Width of ${named} in pixels`);
    const line = document.createElement("div");
    line.className = "col-line";
    line.append(label, width);
    menu.append(line);
  }
  menu.append(document.createElement("hr"));
  const label = document.createElement("label");
  label.append(Object.assign(document.createElement("input"), { type: "checkbox", value: "*wrap", checked: Boolean(kept.wrap) }), "Whole text of every cell");
  menu.append(label);
  if (kept.wrap) el.dataset.wrap = "all";
}

function chooseColumn(event) {
  const menu = event.target.closest?.("[data-columns]");
  if (!menu) return;
  const name = menu.dataset.columns;
  const kept = load(name);
  const ticks = [...menu.querySelectorAll("input[type=checkbox]")];
  kept.widths = {};
  for (const w of menu.querySelectorAll("[data-width]")) if (Number(w.value) >= 60) kept.widths[w.dataset.width] = Math.min(2000, Number(w.value));
  kept.off = ticks.filter((b) => !b.checked && b.value !== "*wrap").map((b) => b.value);
  kept.wrap = ticks.find((b) => b.value === "*wrap").checked;
  save(name, kept);
  for (const el of document.querySelectorAll(`table[data-table="${CSS.escape(name)}"]`)) {
    if (kept.wrap) el.dataset.wrap = "all"; else delete el.dataset.wrap;
    dressColumns(el);
  }
}

function drag(event) {
  const grip = event.target.closest?.(".col-size");
  if (!grip) return;
  event.preventDefault();
  const th = grip.parentElement;
  const el = th.closest("table");
  const i = [...th.parentElement.cells].indexOf(th);
  const start = event.clientX - th.offsetWidth;
  const onMove = (e) => size(el, i, Math.max(60, e.clientX - start));
  const onUp = () => {
    removeEventListener("pointermove", onMove);
    const kept = load(el.dataset.table);
    kept.widths = { ...kept.widths, [th.dataset.col]: th.offsetWidth };
    save(el.dataset.table, kept);
    const shown = document.querySelector(`[data-width="${CSS.escape(th.dataset.col)}"]`);
    if (shown) shown.value = th.offsetWidth;
  };
  addEventListener("pointermove", onMove);
  addEventListener("pointerup", onUp, { once: true });
}

export function dressTables(root) {
  for (const el of root.querySelectorAll("table[data-table]")) dressColumns(el);
  for (const form of root.querySelectorAll("form[data-select]")) count(form, form.querySelector("[data-all-field]")?.value === "1");
}

export function startTables() {
  document.addEventListener("click", (e) => {
    const box = e.target.closest(".tick input");
    if (box?.hasAttribute("data-tick-all")) setAll(box.form, box.checked, false);
    else if (box) ticked(box, e.shiftKey);
    if (e.target.closest("[data-all]")) setAll(e.target.closest("form"), true, true);
    if (e.target.closest("[data-none]")) setAll(e.target.closest("form"), false, false);
    const cell = e.target.closest(".cell");
    if (cell && !e.target.closest("a") && getSelection().isCollapsed) cell.toggleAttribute("data-open");
  });
  document.addEventListener("change", chooseColumn);
  document.addEventListener("pointerdown", drag);
  dressTables(document);
}
