// Dropping a file, and the progress of its upload. The form works without this: it is a plain multipart form.
const size = (n) => { let unit = 0; while (n >= 1000 && unit < 4) { n /= 1000; unit += 1; } return `${unit ? n.toFixed(1) : n} ${["B", "kB", "MB", "GB", "TB"][unit]}`; };

function picked(zone) {
  const file = zone.querySelector("input[type=file]").files[0];
  zone.querySelector("[data-picked]").textContent = file ? `${file.name} · ${size(file.size)}` : "";
}

function drop(event) {
  const zone = event.target.closest?.("[data-drop]");
  if (!zone) return;
  event.preventDefault();
  delete zone.dataset.over;
  if (event.type !== "drop" || !event.dataTransfer.files.length) return;
  const field = zone.querySelector("input[type=file]");
  field.files = event.dataTransfer.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

function send(form) {
  const bar = form.querySelector("[data-progress]");
  const said = bar.querySelector("[data-said]");
  const rate = bar.querySelector("[data-rate]");
  const button = form.querySelector("button:not([type=button])");
  const request = new XMLHttpRequest();
  const start = performance.now();
  const over = (text) => { said.textContent = text; button?.removeAttribute("disabled"); delete form.dataset.sending; };
  request.open("POST", form.action);
  request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
  request.upload.onprogress = (e) => {
    const speed = e.loaded / Math.max(0.2, (performance.now() - start) / 1000);
    bar.querySelector("progress").value = (100 * e.loaded) / e.total;
    said.textContent = e.loaded < e.total ? `${size(e.loaded)} of ${size(e.total)}` : "Uploaded. Reading the table…";
    rate.textContent = e.loaded < e.total ? `${size(speed)}/s, ${Math.ceil((e.total - e.loaded) / speed)} s left` : "";
  };
  request.onload = () => {
    if (request.status < 300) { location.assign(request.getResponseHeader("HX-Redirect") || request.responseURL); return; }
    over("");
    bar.hidden = true;
    if (request.status === 422 || request.status === 400 || request.status === 413) show(form, request.responseText);
    else { bar.hidden = false; said.textContent = `The server answered ${request.status}. Nothing was kept; try again.`; }
  };
  request.onerror = () => over("The connection broke. Nothing was kept; try again.");
  bar.hidden = false;
  form.dataset.sending = "1";
  const data = new FormData(form);
  button?.setAttribute("disabled", "");
  request.send(data);
}

// The refused form comes back as HTML of our own server: the same part of it takes the place of what stands here.
function show(form, html) {
  const target = form.dataset.uploadTarget || `#${CSS.escape(form.id)}`;
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector(target);
  const here = document.querySelector(target);
  if (!fresh || !here) { document.querySelector("[data-said]").textContent = "The file was not accepted."; return; }
  here.replaceWith(fresh);
  window.htmx?.process(fresh);
  (fresh.querySelector("[data-focus], [role=alert], .error") || fresh).scrollIntoView({ block: "center" });
  fresh.querySelector("[data-focus]")?.focus();
}

export function startUploads() {
  for (const type of ["dragover", "drop", "dragleave"]) document.addEventListener(type, drop);
  document.addEventListener("dragover", (e) => { const zone = e.target.closest?.("[data-drop]"); if (zone) zone.dataset.over = ""; });
  document.addEventListener("change", (e) => e.target.matches?.("[data-drop] input[type=file]") && picked(e.target.closest("[data-drop]")));
  document.addEventListener("submit", (e) => {
    if (!e.target.matches("[data-upload]") || e.defaultPrevented) return;
    e.preventDefault();
    if (!e.target.dataset.sending) send(e.target);
  });
  window.addEventListener("beforeunload", (e) => document.querySelector("[data-sending]") && e.preventDefault());
}
