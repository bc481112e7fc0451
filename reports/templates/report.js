// Filtering only: the page reads the same without it.
(function () {
  var bar = document.querySelector(".filter");
  var field = document.getElementById("find");
  var shown = document.getElementById("shown");
  var buttons = Array.prototype.slice.call(bar.querySelectorAll("button"));
  var entries = Array.prototype.slice.call(document.querySelectorAll("[data-claim]"));
  var texts = {};
  Array.prototype.forEach.call(document.querySelectorAll("section.claim"), function (claim) {
    texts[claim.dataset.claim] = { words: claim.textContent.toLowerCase(), verdicts: claim.dataset.verdicts.split(" ") };
  });
  bar.hidden = false;
  function apply() {
    var word = field.value.trim().toLowerCase();
    var chosen = buttons.filter(function (b) { return b.getAttribute("aria-pressed") === "true"; }).map(function (b) { return b.dataset.verdict; });
    var count = 0;
    Object.keys(texts).forEach(function (id) {
      var entry = texts[id];
      entry.fits = (!word || id.toLowerCase() === word || entry.words.indexOf(word) >= 0) &&
        (!chosen.length || chosen.some(function (v) { return entry.verdicts.indexOf(v) >= 0; }));
      count += entry.fits ? 1 : 0;
    });
    entries.forEach(function (node) { node.hidden = texts[node.dataset.claim] ? !texts[node.dataset.claim].fits : false; });
    shown.textContent = word || chosen.length ? count + " claims shown" : "";
  }
  buttons.forEach(function (button) {
    button.addEventListener("click", function () {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
      apply();
    });
  });
  field.addEventListener("input", apply);
  window.addEventListener("beforeprint", function () { entries.forEach(function (node) { node.hidden = false; }); });
  window.addEventListener("afterprint", apply);
})();
