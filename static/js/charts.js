// <figure data-chart="id"> and the JSON in the hidden element of that id become a plot. Plotly (390 kB) is fetched only where a chart is near.
const OKABE = { "#0072b2": "series-1", "#d55e00": "series-2", "#009e73": "series-3", "#cc79a7": "series-4" };
const drawn = new Set();
let loading = null;

function plotly() {
  loading ||= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly;
    script.onload = () => done(window.Plotly);
    script.onerror = () => failed(new Error("plotly did not load"));
    if (document.body.dataset.plotly) document.head.append(script);
    else script.onerror();
  });
  return loading;
}

// light-dark() resolves only where a colour is computed: a probe element asks the browser.
function colours() {
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  const ask = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["text", "muted", "line", "line-strong", "surface", "accent", "series-1", "series-2", "series-3", "series-4"];
  for (const tone of ["neutral", "active", "good", "warn", "bad", "off"]) names.push(`${tone}-solid`);
  const all = Object.fromEntries(names.map((n) => [n, ask(n)]));
  probe.remove();
  return all;
}

function themed(value, palette) {
  if (Array.isArray(value)) return value.map((v) => themed(v, palette));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, /^(x|y|text|customdata|name|labels|type|mode)$/.test(k) && (typeof v !== "object" || Array.isArray(v)) ? v : themed(v, palette)]));
  // Names of people and values of rows stand under the keys left alone above: they are never read as colours.
  if (typeof value === "string") return palette[value] || palette[OKABE[value.toLowerCase()]] || value;
  return value;
}

function merge(base, over) {
  const out = { ...base };
  for (const [k, v] of Object.entries(over || {})) out[k] = v && typeof v === "object" && !Array.isArray(v) && base[k] && typeof base[k] === "object" ? merge(base[k], v) : v;
  return out;
}

async function draw(figure) {
  const spot = figure.querySelector(".plot");
  const source = document.getElementById(figure.dataset.chart);
  if (!spot || !source) return;
  try {
    const Plotly = await plotly();
    const palette = colours();
    const given = JSON.parse(source.textContent);
    const axis = { gridcolor: palette.line, linecolor: palette["line-strong"], zerolinecolor: palette["line-strong"], tickcolor: palette.line, automargin: true, fixedrange: true, title: { font: { size: 12 }, standoff: 8 } };
    const layout = merge(
      {
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: palette.muted },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 8, r: 8, t: 8, b: 8 }, bargap: 0.36, barcornerradius: 3,
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: palette.text } },
        hoverlabel: { bgcolor: palette.surface, bordercolor: palette["line-strong"], font: { color: palette.text } },
        xaxis: { ...axis, showgrid: false }, yaxis: { ...axis, zeroline: false },
      },
      themed(given.layout || {}, palette),
    );
    layout.autosize = true;
    if (layout.height) spot.style.height = `${layout.height}px`; // as many pixels as it has bars
    delete layout.width;
    await Plotly.react(spot, themed(given.data || [], palette), layout, { displayModeBar: false, responsive: true, showTips: false, doubleClick: false });
    drawn.add(figure);
  } catch (error) {
    figure.dataset.failed = "";
    spot.textContent = "The chart could not be drawn; the table below has the numbers.";
    figure.querySelector("details")?.setAttribute("open", "");
  }
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "400px" });

export function findCharts(root) {
  for (const figure of drawn) if (!figure.isConnected) { window.Plotly?.purge(figure.querySelector(".plot")); drawn.delete(figure); }
  for (const figure of root.querySelectorAll("[data-chart]")) if (!drawn.has(figure)) near.observe(figure);
}

export function startCharts() {
  findCharts(document);
  document.addEventListener("themechange", () => drawn.forEach(draw));
  window.addEventListener("beforeprint", () => document.querySelectorAll("[data-chart]").forEach((f) => drawn.has(f) || draw(f)));
}
