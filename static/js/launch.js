// Launch: says beside the button which model is ticked now, and moves the rows' mark along.
function say() {
  const picked = document.querySelector("input[name=pick]:checked");
  const spot = document.getElementById("says");
  if (!picked || !spot) return;
  if (spot.textContent !== picked.dataset.says) spot.textContent = picked.dataset.says;
  for (const row of document.querySelectorAll("#models tr.picked")) row.classList.remove("picked");
  picked.closest("tr").classList.add("picked");
}

document.addEventListener("change", (e) => e.target.matches("input[name=pick]") && say());
document.addEventListener("htmx:afterSettle", say);
say();
