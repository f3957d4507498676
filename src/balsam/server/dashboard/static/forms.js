// Small conveniences of forms; without them all forms work, too.

// Filters that are empty are left out of the address.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if ("clean" in form.dataset) {
    for (const field of form.elements) {
      if (field.name && field.value === "" && !field.disabled) {
        field.disabled = true;
        setTimeout(() => { field.disabled = false; });
      }
    }
  }
  if (form.dataset.ask && !window.confirm(form.dataset.ask)) event.preventDefault();
});

// Rows that are ticked stand for themselves; a tick in the head of the table is one for all of its rows.
document.addEventListener("change", (event) => {
  if (!event.target.matches("input.all")) return;
  for (const box of event.target.closest("table").querySelectorAll("tbody input[type=checkbox]")) {
    box.checked = event.target.checked;
  }
});

// A code is worth nothing after its first use: do not leave it in the page that a browser goes back to.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("input[name=code], input[type=password]").forEach((field) => { field.value = ""; });
});
