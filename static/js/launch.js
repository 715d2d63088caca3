// Launch: says beside the button which model is ticked now, and moves the rows' mark along; what a review asks for, and whether it can go.
function say() {
  const picked = document.querySelector("input[name=pick]:checked");
  const spot = document.getElementById("says");
  if (!spot) return;
  const named = byName();
  const words = named || picked?.dataset.says;
  if (words && spot.textContent !== words) spot.textContent = words;
  for (const row of document.querySelectorAll("#models tr.picked")) row.classList.remove("picked");
  if (!named) picked?.closest("tr").classList.add("picked");
}

// A model that is written by name is taken instead of the one that is ticked.
function byName() {
  const name = document.querySelector("input[name=other_model]")?.value.trim();
  const on = document.getElementById("other_connection")?.selectedOptions[0];
  return name ? `${name} on ${on?.textContent ?? "no connection"}, instead of the one that is ticked` : "";
}

// The figures of a review are swapped, its fields never are: what the new figures ask for is shown or hidden here.
function ask() {
  const says = document.getElementById("bill-says");
  if (!says) return;
  document.getElementById("launch-go").disabled = says.hasAttribute("data-off");
  for (const box of document.querySelectorAll("[data-ask]")) box.hidden = box.disabled = !says.hasAttribute(`data-${box.dataset.ask}`);
}

document.addEventListener("htmx:oobAfterSwap", ask);

// A launch that was refused is shown by a POST: from here on the page is the review, so that Back and reload do not send it again.
if (location.pathname.endsWith("/go/")) history.replaceState(null, "", location.pathname.replace(/go\/$/, "review/"));

// A model that is ticked while the table is asked for anew stays ticked.
let ticked = null;
document.addEventListener("htmx:beforeSwap", (e) => {
  if (e.detail.target?.id === "models") ticked = document.querySelector("input[name=pick]:checked")?.value ?? null;
});
document.addEventListener("htmx:afterSwap", () => {
  const box = ticked && document.querySelector(`input[name=pick][value="${CSS.escape(ticked)}"]`);
  if (box) box.checked = true;
  ticked = null;
});
document.addEventListener("change", (e) => e.target.matches("input[name=pick], #other_connection") && say());
document.addEventListener("input", (e) => e.target.matches("input[name=other_model]") && say());
document.addEventListener("htmx:afterSettle", say);
say();
