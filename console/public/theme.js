// Before the first paint, so that a dark page does not flash white. The switch is in src/theme.ts.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("gitmesh-theme");
  } catch {
    // Storage is off: the system's choice stays.
  }
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
})();
