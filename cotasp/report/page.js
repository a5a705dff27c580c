"use strict";
// Sorting: a header's button orders its table's rows; equal rows keep their order.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement, table = header.closest("table");
    const column = [...header.parentElement.children].indexOf(header);
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentElement.children) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)], known = (v) => v !== "-";
      if (known(x) !== known(y)) return known(x) ? -1 : 1; // what has no value stays last
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  });
}

// Scrolling: a table that has more than it shows says so, until its end is in sight.
for (const box of document.querySelectorAll(".scroll")) {
  const tell = () => {
    const right = box.scrollWidth - box.clientWidth - box.scrollLeft > 4;
    const below = box.scrollHeight - box.clientHeight - box.scrollTop > 4;
    const more = [right && "columns →", below && "rows ↓"].filter(Boolean);
    box.classList.toggle("right", right);
    box.classList.toggle("below", below);
    box.nextElementSibling.hidden = box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight;
    box.nextElementSibling.textContent = more.length ? `Scroll for more ${more.join(" and ")}` : "\u00a0";
  };
  box.addEventListener("scroll", tell, { passive: true });
  new ResizeObserver(tell).observe(box);
}

// Values: under the pointer, or with the arrow keys once a figure has the focus.
const tip = document.getElementById("tip");
let current = null;
function show(mark) {
  current?.classList.remove("on");
  current = mark;
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("on");
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const x = box.left + box.width / 2 + 14, y = Math.max(box.top, 8);
  tip.style.left = Math.max(4, x + own.width > innerWidth ? x - own.width - 28 : x) + "px";
  tip.style.top = Math.min(y, innerHeight - own.height - 4) + "px";
}
for (const figure of document.querySelectorAll("figure > svg")) {
  const marks = [...figure.querySelectorAll("[data-tip]")];
  figure.addEventListener("pointerover", (e) => show(e.target.closest("[data-tip]")));
  figure.addEventListener("pointerleave", () => show(null));
  figure.addEventListener("focus", () => figure.matches(":focus-visible") && show(marks[0] ?? null));
  figure.addEventListener("blur", () => show(null));
  figure.addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (e.key === "Escape") show(null);
    if (!step || !marks.length) return;
    e.preventDefault();
    show(marks[(marks.indexOf(current) + step + marks.length) % marks.length]);
  });
}
addEventListener("scroll", () => current && show(current), { passive: true });
