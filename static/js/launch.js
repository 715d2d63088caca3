// Launch: says beside the button which model is ticked now, and moves the rows' mark along; what a review asks for, and whether it can go.
function say() {
  const picked = document.querySelector("input[name=pick]:checked");
  const spot = document.getElementById("says");
  if (!picked || !spot) return;
  if (spot.textContent !== picked.dataset.says) spot.textContent = picked.dataset.says;
  for (const row of document.querySelectorAll("#models tr.picked")) row.classList.remove("picked");
  picked.closest("tr").classList.add("picked");
}

// The figures of a review are swapped, its fields never are: what the new figures ask for is shown or hidden here.
function ask() {
  const says = document.getElementById("bill-says");
  if (!says) return;
  document.getElementById("launch-go").disabled = says.hasAttribute("data-off");
  for (const box of document.querySelectorAll("[data-ask]")) box.hidden = box.disabled = !says.hasAttribute(`data-${box.dataset.ask}`);
}

document.addEventListener("htmx:oobAfterSwap", ask);
document.addEventListener("change", (e) => e.target.matches("input[name=pick]") && say());
document.addEventListener("htmx:afterSettle", say);
say();
