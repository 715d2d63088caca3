// One-key shortcuts. None fires while a person types, or with Ctrl, Alt or Meta; the help of `?` lists them.
import { closeDialog } from "./parts.js";
import { togglePause } from "./live.js";
import { move, open, tick } from "./tables.js";

const typing = (el) => el?.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
const press = (selector) => { const el = document.querySelector(selector); el?.click(); return Boolean(el); };

// Asked for here and not by a click: a quick hand is there before htmx has bound the links of a drawer that was just swapped in.
function follow(selector) {
  const link = document.querySelector(selector);
  if (!link) return false;
  window.htmx.ajax("GET", link.getAttribute("href"), { target: "#drawer", swap: "innerHTML" });
  return true;
}

// While a drawer is open its keys are its own: those of the list behind would turn pages that nobody sees.
function inDrawer(key) {
  if (["j", "J", "ArrowRight"].includes(key)) return follow("dialog[data-drawer] [data-next]") || key === "j";
  if (["k", "K", "ArrowLeft"].includes(key)) return follow("dialog[data-drawer] [data-previous]") || key === "k";
  return ["[", "]", "x", "X"].includes(key);
}

function act(event) {
  const { key, shiftKey } = event;
  switch (key) {
    case "/": { const field = document.querySelector("[data-search]"); field?.focus(); field?.select(); return Boolean(field); }
    case "?": document.getElementById("shortcuts")?.showModal(); return true;
    case "n": return press("[data-new]");
    case "j": move(1); return true;
    case "k": move(-1); return true;
    case "x": case "X": tick(shiftKey); return true;
    case "p": togglePause(); return true;
    case "[": case "]": return press(`.pages [data-key="${key}"]`);
    case "Enter": if (document.activeElement === document.body) { open(); return true; } return false;
    default: return false;
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const drawer = document.querySelector("#drawer dialog[data-drawer], dialog[data-drawer][open]");
  if (event.key === "Escape" && drawer && !document.querySelector("dialog:modal, :popover-open")) { closeDialog(drawer); return; }
  if (typing(event.target) || document.querySelector("dialog:modal")) return;
  if ((drawer && inDrawer(event.key)) || act(event)) event.preventDefault();
}

export function startKeys() {
  document.addEventListener("keydown", onKey);
}
