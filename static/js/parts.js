// Dialogs, drawers, menus, copying, dismissing, times, filters, forms that may be sent once.
const say = (text) => {
  const spot = document.getElementById("status");
  if (spot && spot.textContent !== text) spot.textContent = text;
};
export { say };

function openDialog(dialog, from) {
  if (!dialog || dialog.open) return;
  if (dialog.hasAttribute("data-drawer")) dialog.show(); // beside the table, which stays usable
  else dialog.showModal();
  dialog.opener = from;
}

export function closeDialog(dialog) {
  if (!dialog?.open && !dialog?.closest("#drawer")) return; // a drawer that came this moment may be closed before it was opened
  dialog.close();
  dialog.opener?.isConnected && dialog.opener.focus();
  if (dialog.closest("#drawer")) {
    dialog.closest("#drawer").replaceChildren();
    if (dialog.dataset.back) history.replaceState(null, "", dialog.dataset.back);
  }
}

function onClick(event) {
  const at = event.target;
  const opener = at.closest("[data-open]");
  if (opener) {
    opener.closest("[popover]")?.hidePopover();
    openDialog(document.getElementById(opener.dataset.open), opener);
  }
  if (at.closest("[data-close]")) closeDialog(at.closest("dialog"));
  if (at.matches("dialog:modal") && outside(event, at)) closeDialog(at);
  if (at.closest("[data-dismiss]")) at.closest(".notice").remove();
  if (at.closest("[data-print]")) print();
  if (at.closest("[data-copy]")) copy(at.closest("[data-copy]"));
}

function outside(event, dialog) {
  const box = dialog.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

async function copy(button) {
  const source = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.closest(".code")?.querySelector("pre");
  if (!source) return;
  const twin = source.cloneNode(true);
  for (const odd of twin.querySelectorAll(".odd-char")) odd.replaceWith(String.fromCodePoint(Number(odd.dataset.c)));
  const label = button.querySelector("span:not(.sr)") || button;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(source.value ?? twin.textContent);
    label.textContent = "Copied";
    say("Copied");
  } catch {
    getSelection().selectAllChildren(source); // no clipboard without TLS: select it, so that Ctrl-C works
    label.textContent = "Press Ctrl-C";
  }
  setTimeout(() => { label.textContent = before; }, 1600);
}

// A popover opens beside its button, within the window.
function placeMenu(event) {
  const menu = event.target;
  if (!menu.classList?.contains("menu") || event.newState !== "open") return;
  const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
  const spot = button.getBoundingClientRect();
  const { offsetWidth: w, offsetHeight: h } = menu;
  const left = spot.left + w > innerWidth - 8 ? spot.right - w : spot.left;
  const below = spot.bottom + 4;
  menu.style.left = `${Math.max(8, Math.min(left, innerWidth - w - 8))}px`;
  menu.style.top = `${below + h > innerHeight - 8 ? Math.max(8, spot.top - h - 4) : below}px`;
  const first = menu.querySelector("a, button, input");
  if (button.matches(":focus-visible")) first?.focus();
}

function menuKeys(event) {
  const menu = event.target.closest?.(".menu:popover-open");
  if (!menu || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
  const items = [...menu.querySelectorAll("a, button, input")];
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  items[(to + items.length) % items.length]?.focus();
  event.preventDefault();
}

const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min"]];
export function ago(date) {
  const seconds = Math.round((Date.now() - date) / 1000);
  const size = Math.abs(seconds);
  if (size < 2) return "just now";
  let text = `${size} s`;
  for (const [big, unit, small, smallUnit] of UNITS) {
    if (size < big) continue;
    const rest = small ? Math.floor((size % big) / small) : 0;
    text = `${Math.floor(size / big)} ${unit}${rest ? ` ${rest} ${smallUnit}` : ""}`;
    break;
  }
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function freshenTimes() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(new Date(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

// Filters send themselves: selects and ticks at once, text after a pause. With htmx by the event `auto`, else as a form.
let waiting;
function autoFilter(event) {
  const form = event.target.closest?.("form[data-auto]");
  if (!form || event.target.closest("[data-columns]")) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => (form.hasAttribute("hx-get") && window.htmx ? window.htmx.trigger(form, "auto") : form.requestSubmit()), event.type === "input" ? 350 : 0);
}

// A filter may stand within what it refreshes. Who types is ahead of the answer: the field keeps the focus, the cursor and what stands in it.
let typing = null;
function keepTyping(event) {
  const at = document.activeElement;
  typing = null;
  if (!at?.name || !at.form || !event.detail.target?.contains?.(at) || !at.matches("input[type=search], input[type=text], input:not([type]), textarea")) return;
  typing = { action: at.form.getAttribute("action"), name: at.name, value: at.value, from: at.selectionStart, to: at.selectionEnd };
}

function goOnTyping() {
  if (!typing) return;
  const was = typing;
  typing = null;
  const field = [...document.querySelectorAll(`form [name="${CSS.escape(was.name)}"]`)].find((each) => each.form.getAttribute("action") === was.action);
  if (!field) return;
  const behind = field.value !== was.value;
  if (behind) field.value = was.value;
  field.focus({ preventScroll: true });
  field.setSelectionRange(was.from, was.to);
  if (behind) field.dispatchEvent(new Event("input", { bubbles: true }));
}

function sendOnce(event) {
  const form = event.target;
  if (!form.matches("[data-once]") || event.defaultPrevented) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  setTimeout(() => { for (const b of form.querySelectorAll("button:not([type=button])")) b.setAttribute("aria-disabled", "true"); });
}

export function dressParts(root) {
  for (const drawer of root.querySelectorAll("#drawer dialog[data-drawer]:not([open])")) openDialog(drawer, document.querySelector("tr[data-at] .title") || document.activeElement);
  root.querySelector("[data-focus]")?.focus();
  root.querySelector("[data-focus]")?.removeAttribute("data-focus");
}

export function startParts() {
  document.addEventListener("click", onClick);
  document.addEventListener("toggle", placeMenu, true);
  document.addEventListener("keydown", menuKeys);
  document.addEventListener("change", autoFilter);
  document.addEventListener("input", (e) => e.target.matches?.("input[type=search], input[type=text]") && autoFilter(e));
  document.addEventListener("htmx:beforeSwap", keepTyping);
  document.addEventListener("htmx:afterSettle", goOnTyping);
  document.addEventListener("submit", sendOnce);
  document.addEventListener("cancel", (e) => { if (e.target.matches?.("dialog")) { e.preventDefault(); closeDialog(e.target); } }, true);
  window.addEventListener("pageshow", (e) => e.persisted && document.querySelectorAll("[data-sent]").forEach((f) => { delete f.dataset.sent; f.querySelectorAll("[aria-disabled]").forEach((b) => b.removeAttribute("aria-disabled")); }));
  document.addEventListener("htmx:responseError", () => notice("The server could not answer that. Nothing was changed; try again."));
  document.addEventListener("htmx:sendError", (e) => e.target.hasAttribute?.("data-live") || notice("The server does not answer. Check the connection, then try again."));
  setInterval(freshenTimes, 10000);
  dressParts(document);
}

function notice(text) {
  const spot = document.getElementById("messages");
  if (!spot || [...spot.children].some((n) => n.textContent.includes(text))) return;
  const box = document.createElement("div");
  box.className = "notice tone-bad";
  const words = document.createElement("div");
  words.className = "text";
  words.textContent = text;
  const button = document.createElement("button");
  button.className = "btn btn-ghost btn-small";
  button.type = "button";
  button.dataset.dismiss = "";
  button.textContent = "Dismiss";
  const gap = document.createElement("span");
  box.append(gap, words, button);
  spot.append(box);
  say(text);
}
