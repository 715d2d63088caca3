// The choice of a theme takes effect at once; the server remembers it in the `theme` cookie (POST).
export function startTheme() {
  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("[data-theme-form]");
    if (!form || !event.submitter) return;
    event.preventDefault();
    const choice = event.submitter.value;
    const body = new FormData(form, event.submitter);
    if (choice) document.documentElement.dataset.theme = choice;
    else delete document.documentElement.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-form] button")) {
      const tick = form.querySelector("button > .icon:nth-of-type(2)") || button.querySelector(".icon:nth-of-type(2)");
      if (tick && button.value === choice) button.append(tick.cloneNode(true));
    }
    for (const button of document.querySelectorAll("[data-theme-form] button")) {
      const ticks = button.querySelectorAll(".icon");
      [...ticks].slice(button.value === choice ? 2 : 1).forEach((t) => t.remove());
    }
    document.dispatchEvent(new CustomEvent("themechange"));
    form.closest("[popover]")?.hidePopover();
    await fetch(form.action, { method: "POST", body, redirect: "manual" });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("themechange")));
}
