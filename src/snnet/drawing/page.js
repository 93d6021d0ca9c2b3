(function () {
  var svg = document.currentScript.closest("svg");
  var height = svg.viewBox.baseVal.height;
  var width = svg.viewBox.baseVal.width;
  var opener = null;

  function each(selector, act) {
    Array.prototype.forEach.call(svg.querySelectorAll(selector), act);
  }

  function names(element, letter) {
    return Array.prototype.filter.call(element.classList, function (name) {
      return new RegExp("^" + letter + "[0-9]+$").test(name);
    });
  }

  // What is on stays bright, with the card that it is on.
  function mark(element) {
    element.classList.add("on");
    var card = element.closest(".card");
    if (card) card.classList.add("on");
  }

  function markWire(wire) {
    mark(wire);
    names(wire, "h").forEach(function (host) {
      each(".card." + host, mark);
      names(wire, "n").forEach(function (network) {
        each(".card." + host + " .seg." + network, mark);
      });
    });
  }

  function point(target) {
    each(".on", function (element) { element.classList.remove("on"); });
    var it = target && target.closest(".seg, .wire, .key, .card");
    svg.classList.toggle("focus", Boolean(it) && it.closest(".panel") === null);
    if (!it || it.closest(".panel")) return;
    mark(it);
    if (it.matches(".wire")) return markWire(it);
    if (it.matches(".card")) {
      Array.prototype.forEach.call(it.querySelectorAll(".seg"), mark);
      names(it, "h").forEach(function (host) { each(".wire." + host, markWire); });
      return;
    }
    var same = it.matches(".seg") ? names(it, "n") : names(it, "t");
    same.forEach(function (name) {
      each(".seg." + name + ", .wire." + name + ", .key." + name + ", .card." + name, mark);
    });
    names(it, "t").forEach(function (tenant) { each(".key." + tenant, mark); });
  }

  function resize(to) {
    svg.setAttribute("viewBox", "0 0 " + width + " " + to);
    svg.setAttribute("height", to);
  }

  function close() {
    each(".shown", function (panel) { panel.classList.remove("shown"); });
    svg.classList.remove("open");
    resize(height);
    if (opener) opener.focus();
    opener = null;
  }

  // The panel of a card is put where one looks; the page grows if the panel is higher.
  function open(card) {
    var panel = svg.getElementById("p" + names(card, "h")[0].slice(1));
    var shown = Number(panel.dataset.height);
    var box = svg.getBoundingClientRect();
    var top = Math.max(0, -box.top) * width / box.width;
    var room = Math.min(window.innerHeight * width / box.width, height - top);
    var y = Math.round(top + Math.max(16, (room - shown) / 2));
    panel.setAttribute("transform", "translate(" + (width - 1000) / 2 + " " + y + ")");
    if (y + shown + 16 > height) {
      svg.classList.remove("one");
      resize(y + shown + 16);
    }
    point(null);
    svg.classList.add("open");
    panel.classList.add("shown");
    opener = card;
  }

  svg.addEventListener("pointerover", function (event) { point(event.target); });
  svg.addEventListener("pointerleave", function () { point(null); });
  svg.addEventListener("focusin", function (event) { point(event.target); });
  svg.addEventListener("click", function (event) {
    var card = event.target.closest("[role=button]");
    if (svg.classList.contains("open")) {
      if (!event.target.closest(".panel")) close();
    } else if (card) open(card);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape" && svg.classList.contains("open")) close();
    var card = event.target.closest && event.target.closest("[role=button]");
    if (card && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      open(card);
    }
  });
})();
