"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(a.cells[column], b.cells[column], down));
      table.tBodies[0].append(...rows);
    });
  });
}
function compare(a, b, down) {
  const sign = down ? -1 : 1;
  if (!("sort" in a.dataset)) {
    const options = { numeric: true };
    return sign * a.textContent.localeCompare(b.textContent, "en", options);
  }
  const [one, other] = [Number(a.dataset.sort), Number(b.dataset.sort)];
  // What is unknown goes last, whichever the order.
  if (isNaN(one) || isNaN(other)) return isNaN(one) - isNaN(other);
  return sign * (one - other);
}
