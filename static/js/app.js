// Everything of our own that runs in the browser, started once. Each module listens on the document, so swapped parts need no wiring.
import { startTheme } from "./theme.js";
import { findCharts, startCharts } from "./charts.js";
import { startTables, dressTables } from "./tables.js";
import { startLive } from "./live.js";
import { startUploads } from "./upload.js";
import { startParts, dressParts } from "./parts.js";
import { startKeys } from "./keys.js";

// The server shows times in this zone from the next page on.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`tz=${zone}`)) document.cookie = `tz=${zone}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;

startTheme();
startParts();
startTables();
startLive();
startUploads();
startKeys();
startCharts();

// A question that is cut off, by the next one or by the end of the page, is no error: htmx would write it to the console as one.
document.addEventListener("htmx:beforeSend", ({ detail: { xhr } }) => {
  const cleanUp = xhr.onabort;
  xhr.onabort = (event) => {
    const { error } = console;
    console.error = () => {};
    try { cleanUp?.call(xhr, event); } finally { console.error = error; }
  };
});

document.addEventListener("htmx:afterSettle", () => {
  findCharts(document);
  dressTables(document);
  dressParts(document);
});
