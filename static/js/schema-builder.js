// Builds an output schema from named fields. The JSON text is the truth: fields are drawn from it, and it is written anew on each change.
// What the fields cannot show is left alone and edited as JSON. The shapes are those of build_schema in jobs/rows/schema.py.
const SHAPES = { text: { type: "string" }, number: { type: "number" }, "yes/no": { type: "boolean" }, list: { type: "array", items: { type: "string" } } };
const equal = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// A schema as fields, [] for none, null where it says more than fields can.
export function parse(text) {
  if (!text.trim()) return [];
  let schema;
  try { schema = JSON.parse(text); } catch { return null; }
  const { type, properties, required, additionalProperties, ...more } = schema ?? {};
  if (type !== "object" || !properties || typeof properties !== "object" || Array.isArray(properties) || Object.keys(more).length) return null;
  if (additionalProperties !== false || !equal([...(required ?? [])].sort(), Object.keys(properties).sort())) return null;
  const fields = Object.entries(properties).map(([name, part]) => field(name, part));
  return fields.includes(null) ? null : fields;
}

function field(name, part) {
  const { description = "", ...shape } = part ?? {};
  if (shape.type === "string" && Array.isArray(shape.enum) && shape.enum.every((l) => typeof l === "string") && Object.keys(shape).length === 2) return { name, kind: "label", labels: shape.enum, description };
  const kind = Object.keys(SHAPES).find((each) => equal(SHAPES[each], shape));
  return kind ? { name, kind, labels: [], description } : null;
}

export function build(fields) {
  const properties = Object.create(null);
  for (const { name, kind, labels, description } of fields) {
    const shape = kind === "label" ? { type: "string", enum: labels } : SHAPES[kind];
    properties[name] = description ? { ...shape, description } : { ...shape };
  }
  return JSON.stringify({ type: "object", properties, required: Object.keys(properties), additionalProperties: false }, null, 2);
}

// The labels in a text. Lines part it; without lines, commas and semicolons do, but not within "quotes".
export function labelsIn(text) {
  if (/[\n\t]/.test(text.trim())) return text.split(/[\n\t]/).map(unquoted).filter(Boolean);
  return (text.match(/\s*"[^"]*"?\s*|[^,;]+/g) ?? []).map(unquoted).filter(Boolean);
}

const unquoted = (label) => label.trim().replace(/^"([^"]*)"?$/, "$1").trim();
const quoteIsOpen = (text) => /(^|[,;])\s*"[^"]*$/.test(text);

class Builder {
  constructor(root) {
    this.root = root;
    this.text = document.getElementById(root.dataset.builder);
    this.list = root.querySelector("[data-fields]");
    root.hidden = false;
    root.addEventListener("click", (e) => this.click(e));
    root.addEventListener("input", (e) => { if (!e.target.matches("[data-tag-input]")) this.write(); });
    root.addEventListener("change", (e) => e.target.matches("[data-f=kind]") && this.dress());
    root.addEventListener("keydown", (e) => this.key(e));
    root.addEventListener("focusout", (e) => e.target.matches("[data-tag-input]") && this.take(e.target));
    root.addEventListener("paste", (e) => this.paste(e));
    this.text.addEventListener("input", () => { if (!this.writing) this.draw(); });
    this.draw();
    if (this.beyond) root.parentElement.querySelector("[data-json]").open = true;
  }

  draw() {
    const fields = parse(this.text.value);
    this.beyond = fields === null;
    this.list.replaceChildren(...(fields ?? []).map((each) => this.row(each)));
    this.dress();
  }

  row({ name = "", kind = "label", labels = [], description = "" } = {}) {
    const row = this.root.querySelector("template[data-field]").content.firstElementChild.cloneNode(true);
    row.querySelector("[data-f=name]").value = name;
    row.querySelector("[data-f=kind]").value = kind;
    row.querySelector("[data-f=description]").value = description;
    for (const label of labels) this.tag(row, label);
    return row;
  }

  tag(row, label) {
    const tags = row.querySelector("[data-tags]");
    if (!label || [...tags.children].some((each) => each.dataset.label === label)) return;
    const tag = this.root.querySelector("template[data-tag]").content.firstElementChild.cloneNode(true);
    tag.dataset.label = label;
    tag.firstElementChild.textContent = label;
    tag.firstElementChild.dir = "auto";
    tag.querySelector(".sr").textContent = `Remove ${label}`;
    tags.append(tag);
  }

  take(input) {
    const labels = labelsIn(input.value);
    input.value = "";
    if (!labels.length) return;
    for (const label of labels) this.tag(input.closest(".builder-field"), label);
    this.write();
  }

  paste(event) {
    const text = event.clipboardData?.getData("text") ?? "";
    if (!event.target.matches("[data-tag-input]") || !/[,;\n\t]/.test(text)) return;
    event.preventDefault();
    const input = event.target;
    const lines = /[\n\t]/.test(text) ? [...labelsIn(input.value), ...labelsIn(text)] : labelsIn(input.value + text);
    input.value = "";
    for (const label of lines) this.tag(input.closest(".builder-field"), label);
    this.write();
  }

  key(event) {
    const input = event.target;
    if (event.key === "Enter" && input.matches("input")) event.preventDefault(); // a form's Enter would save the prompt
    if (!input.matches("[data-tag-input]")) return;
    if (event.key === "Enter" || (event.key === "," && !quoteIsOpen(input.value))) { event.preventDefault(); this.take(input); }
    if (event.key === "Backspace" && !input.value) { input.closest(".tags").querySelector("[data-tags]").lastElementChild?.remove(); this.write(); }
  }

  click(event) {
    const at = event.target;
    if (at.closest("[data-add]")) {
      const row = this.row();
      this.list.append(row);
      this.write();
      row.querySelector("input").focus();
    }
    if (at.closest("[data-remove]")) {
      at.closest(".builder-field").remove();
      this.write();
      this.root.querySelector("[data-add]").focus();
    }
    if (at.closest("[data-untag]")) {
      const row = at.closest(".builder-field");
      at.closest(".tag").remove();
      this.write();
      row.querySelector("[data-tag-input]").focus();
    }
    if (at.closest("[data-clear]")) { this.list.replaceChildren(); this.write(); }
  }

  fields() {
    return [...this.list.children].map((row) => ({
      name: row.querySelector("[data-f=name]").value.trim(),
      kind: row.querySelector("[data-f=kind]").value,
      description: row.querySelector("[data-f=description]").value.trim(),
      labels: [...row.querySelectorAll(".tag")].map((each) => each.dataset.label),
    }));
  }

  write() {
    const fields = this.fields();
    this.writing = true;
    this.text.value = fields.length ? build(fields) : "";
    this.text.dispatchEvent(new Event("input", { bubbles: true }));
    this.writing = false;
    this.dress();
  }

  // What a field still lacks is said beside it; the server says the same when the prompt is saved.
  dress() {
    const fields = this.fields();
    for (const [i, row] of [...this.list.children].entries()) {
      const { name, kind, labels } = fields[i];
      row.querySelector("[data-labels]").hidden = kind !== "label";
      const wrong = !name ? "Give it a name." : fields.findIndex((each) => each.name === name) < i ? "Another field has this name." : kind === "label" && labels.length < 2 ? "Give it two labels or more." : "";
      const said = row.querySelector("[data-wrong]");
      said.hidden = !wrong;
      said.textContent = wrong;
    }
    this.root.querySelector("[data-beyond]").hidden = !this.beyond;
    this.root.querySelector("[data-add]").disabled = this.beyond;
    this.root.querySelector("[data-clear]").hidden = !fields.length;
  }
}

for (const root of document.querySelectorAll("[data-builder]")) new Builder(root);
