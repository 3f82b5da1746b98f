// The interactive description of the API in the colours that were chosen in the admin site, and what Swagger UI leaves
// out of its headings and fields for screen readers.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

const dress = () => {
  const chosen = localStorage.getItem("theme");
  root.classList.toggle("dark-mode", chosen === "dark" || (chosen !== "light" && dark.matches));
};

const LEVELS = { "h3.opblock-tag": 2, "section.models h4": 2, ".opblock-body :is(h4, h5)": 3 };

const REGIONS = { About: ".information-container", Access: ".scheme-container", Responses: ".responses-table" };

const describe = () => {
  for (const [headings, level] of Object.entries(LEVELS)) {
    for (const heading of document.querySelectorAll(headings)) {
      heading.setAttribute("role", "heading");
      heading.setAttribute("aria-level", level);
    }
  }
  for (const [name, places] of Object.entries(REGIONS)) {
    for (const place of document.querySelectorAll(places)) {
      place.setAttribute("role", "region");
      place.setAttribute("aria-label", `${name} ${place.id}`.trim());
    }
  }
  for (const field of document.querySelectorAll("#swagger-ui :is(select, textarea, input):not([aria-label])")) {
    field.setAttribute("aria-label", field.placeholder || "Value");
  }
  for (const block of document.querySelectorAll("#swagger-ui pre:not([tabindex])")) block.tabIndex = 0;
};

dress();
dark.addEventListener("change", dress);
addEventListener("storage", dress);
new MutationObserver(describe).observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });
