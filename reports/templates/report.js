// Filtering, sorting and printing only: the page reads the same without it.
(function () {
  "use strict";
  function all(selector, root) { return Array.prototype.slice.call((root || document).querySelectorAll(selector)); }
  var bar = document.querySelector(".filter");
  var field = document.getElementById("find");
  var shown = document.getElementById("shown");
  var buttons = all("button", bar);
  var entries = all("[data-claim]");
  var texts = {};
  all("section.claim").forEach(function (claim) {
    texts[claim.dataset.claim] = { words: claim.textContent.toLowerCase(), verdicts: claim.dataset.verdicts.split(" ") };
  });
  bar.hidden = false;

  function pressed(button) { return button.getAttribute("aria-pressed") === "true"; }
  function apply() {
    var word = field.value.trim().toLowerCase();
    var chosen = buttons.filter(pressed).map(function (button) { return button.dataset.verdict; });
    var count = 0;
    Object.keys(texts).forEach(function (id) {
      var entry = texts[id];
      entry.fits = (!word || id.toLowerCase() === word || entry.words.indexOf(word) >= 0) &&
        (!chosen.length || chosen.some(function (verdict) { return entry.verdicts.indexOf(verdict) >= 0; }));
      count += entry.fits ? 1 : 0;
    });
    entries.forEach(function (node) { node.hidden = texts[node.dataset.claim] ? !texts[node.dataset.claim].fits : false; });
    shown.textContent = word || chosen.length ? count + (count === 1 ? " claim shown" : " claims shown") + "; Escape shows all" : "";
  }
  function reset() {
    field.value = "";
    buttons.forEach(function (button) { button.setAttribute("aria-pressed", "false"); });
    apply();
  }
  buttons.forEach(function (button) {
    button.addEventListener("click", function () {
      button.setAttribute("aria-pressed", pressed(button) ? "false" : "true");
      apply();
    });
  });
  field.addEventListener("input", apply);
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { reset(); } });

  // A click on a column's heading sorts by it, a second one turns the order round, a third one restores the first order.
  var notable = ["error", "disagrees", "inconclusive", "assumption-violated", "agrees", "not-run"];
  function value(row, column, by) {
    var cell = row.cells[column];
    if (by === "notable") {
      return Math.min.apply(null, all(".cell", cell).map(function (one) {
        return notable.findIndex(function (verdict) { return one.classList.contains(verdict); });
      }).concat(notable.length));
    }
    var text = (row.dataset.title && column === 0 ? row.dataset.title : cell.textContent).trim();
    var scientific = text.replace(/−/g, "-").replace(/·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/, function (_, power) {
      return "e" + power.replace(/⁻/g, "-").replace(/[⁰¹²³⁴⁵⁶⁷⁸⁹]/g, function (digit) { return "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(digit); });
    }).replace("∞", "Infinity");
    return /^-?[\d.]+(e-?\d+)?$|^-?Infinity$/.test(scientific) ? Number(scientific) : text.toLowerCase();
  }
  function compare(one, other) {
    if (typeof one === typeof other) { return one < other ? -1 : one > other ? 1 : 0; }
    return typeof one === "number" ? -1 : 1;
  }
  all("table[data-sortable]").forEach(function (table) {
    var body = table.tBodies[0];
    var original = all("tr", body);
    var heads = all("thead th", table);
    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      // The heading itself stays text: a heading that paper repeats on every page is printed without its buttons.
      button.setAttribute("aria-label", "Sort by " + head.textContent.trim());
      button.title = "Sort by this column";
      head.appendChild(button);
      head.addEventListener("click", function () {
        var next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort") || "none"];
        heads.forEach(function (one) { one.removeAttribute("aria-sort"); });
        if (next !== "none") { head.setAttribute("aria-sort", next); }
        var keyed = original.map(function (row, place) { return { row: row, place: place, key: value(row, column, head.dataset.by) }; });
        if (next !== "none") {
          keyed.sort(function (a, b) { return (next === "ascending" ? 1 : -1) * compare(a.key, b.key) || a.place - b.place; });
        }
        keyed.forEach(function (one) { body.appendChild(one.row); });
      });
    });
  });

  // What goes on beyond the right edge of a scroller fades out there, until it is scrolled to.
  var scrollers = all(".scroll");
  function hint(one) { one.toggleAttribute("data-more", one.scrollLeft + one.clientWidth < one.scrollWidth - 2); }
  scrollers.forEach(function (one) {
    one.addEventListener("scroll", function () { hint(one); }, { passive: true });
    if (window.ResizeObserver) { new ResizeObserver(function () { hint(one); }).observe(one); } else { hint(one); }
  });

  // Paper shows everything.
  var closed = [];
  window.addEventListener("beforeprint", function () {
    entries.forEach(function (node) { node.hidden = false; });
    closed = all("details:not([open])");
    closed.forEach(function (node) { node.open = true; });
  });
  window.addEventListener("afterprint", function () {
    closed.forEach(function (node) { node.open = false; });
    apply();
  });
})();
