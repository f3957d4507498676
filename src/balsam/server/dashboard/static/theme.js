// Before the page is painted, or it would flash in the other theme.
(() => {
  const KEY = "balsam-theme";
  const THEMES = ["auto", "light", "dark"];
  const read = () => {
    try {
      const kept = localStorage.getItem(KEY);
      return THEMES.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  };
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  show(read());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => { button.textContent = `Theme: ${read()}`; };
    button.hidden = false;
    name();
    button.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(read()) + 1) % THEMES.length];
      try { localStorage.setItem(KEY, next); } catch { /* shown all the same */ }
      show(next);
      name();
      document.dispatchEvent(new CustomEvent("balsam:theme"));
    });
  });
})();
