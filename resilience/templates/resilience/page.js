(function () {
  "use strict";
  var PERIOD = 10000, page = document.getElementById("ro-page"), said = document.getElementById("ro-said");
  if (!page || !window.fetch || !window.DOMParser) return;
  var paused = false, busy = false, timer = 0, failures = 0, verdict = text("[data-verdict]");

  function text(selector, root) {
    var found = (root || page).querySelector(selector);
    return found ? found.textContent : "";
  }
  function say(what) { said.textContent = what; }

  // Make `old` like `fresh` with as few changes as it takes: what has the focus, what is unfolded,
  // selected or scrolled stays as it is.
  function morph(old, fresh) {
    var i, name, attributes = fresh.attributes, stale = [];
    for (i = 0; i < attributes.length; i++) {
      name = attributes[i].name;
      if (!keeps(old, name) && old.getAttribute(name) !== attributes[i].value) old.setAttribute(name, attributes[i].value);
    }
    for (i = 0; i < old.attributes.length; i++) {
      name = old.attributes[i].name;
      if (!fresh.hasAttribute(name) && !keeps(old, name)) stale.push(name);
    }
    stale.forEach(function (each) { old.removeAttribute(each); });
    if (old.tagName === "BUTTON" && old.type === "button") return;
    children(old, fresh);
  }
  function keeps(element, name) {
    return (element.tagName === "DETAILS" && name === "open") || name === "hidden" ||
      (element.hasAttribute("data-pause") && name === "aria-pressed");
  }
  function key(node) {
    return node.nodeType === 1 ? node.getAttribute("data-key") || node.id || "" : "";
  }
  function children(old, fresh) {
    var keyed = {}, here = old.firstChild, next;
    for (next = old.firstChild; next; next = next.nextSibling) if (key(next)) keyed[key(next)] = next;
    for (var there = fresh.firstChild; there; there = there.nextSibling) {
      var match = key(there) ? keyed[key(there)] : here;
      if (match && alike(match, there)) {
        if (match === here) here = here.nextSibling; else old.insertBefore(match, here);
        if (match.nodeType === 1) morph(match, there);
        else if (match.data !== there.data) match.data = there.data;
      } else {
        old.insertBefore(document.importNode(there, true), here);
      }
    }
    while (here) { next = here.nextSibling; old.removeChild(here); here = next; }
  }
  function alike(one, other) {
    return one.nodeType === other.nodeType && one.nodeName === other.nodeName && key(one) === key(other);
  }

  // What an action said stays until the next one.
  function keepNotices(fresh) {
    page.querySelectorAll("[data-notice]").forEach(function (notice) {
      fresh.insertBefore(fresh.ownerDocument.importNode(notice, true), fresh.querySelector("section"));
    });
  }
  function take(response, acted) {
    return response.text().then(function (html) {
      // Only the page's own part: the policy would refuse the style of the whole, and say so.
      var part = html.slice(html.indexOf("<!--ro-begin-->"), html.indexOf("<!--ro-end-->"));
      var fresh = new DOMParser().parseFromString(part, "text/html").getElementById("ro-page");
      if (!fresh) throw new Error("signed-out");
      failures = 0;
      if (!acted) keepNotices(fresh);
      morph(page, fresh);
      dress();
      var now = text("[data-verdict]"), notice = text("[data-notice]");
      if (acted && notice) say(notice); else if (now !== verdict) say("Changed: " + now);
      verdict = now;
    });
  }
  function failed(error) {
    failures += 1;
    var fresh = page.querySelector("[data-fresh]");
    var why = error && error.message === "signed-out" ? "no longer signed in, or another page answers" : "this process does not answer";
    fresh.textContent = " – not updated since: " + why + (paused ? "" : "; trying again");
    fresh.className = "ro-stale";
    if (failures === 1) say("The page is not updated: " + why);
  }
  function refresh() {
    if (busy || paused || document.hidden) return;
    busy = true;
    fetch(location.href, { credentials: "same-origin", cache: "no-store", headers: { Accept: "text/html" } })
      .then(function (response) { return take(response, false); }).catch(failed).then(function () { busy = false; plan(); });
  }
  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, PERIOD * Math.min(6, 1 + failures));
  }

  function dress() {
    page.querySelectorAll("[data-copy], [data-copy-near], [data-pause]").forEach(function (each) { each.hidden = false; });
  }
  function copy(button, what) {
    var before = button.innerHTML;
    var done = function (ok) {
      button.textContent = ok ? "Copied" : "Press Ctrl+C";
      say(button.textContent);
      setTimeout(function () { button.innerHTML = before; }, 2000);
    };
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(what).then(function () { done(true); }, function () { done(byHand(what)); });
    } else done(byHand(what));
  }
  function byHand(what) {
    var area = document.createElement("textarea"), focused = document.activeElement;
    area.value = what;
    area.className = "ro-only-read";
    document.body.appendChild(area);
    area.select();
    var ok = document.execCommand("copy");
    document.body.removeChild(area);
    if (focused) focused.focus();
    return ok;
  }

  page.addEventListener("click", function (event) {
    var button = event.target.closest("button");
    if (!button) return;
    if (button.hasAttribute("data-copy")) copy(button, document.getElementById(button.getAttribute("data-copy")).value);
    else if (button.hasAttribute("data-copy-near")) copy(button, text(".ro-copied", button.parentNode));
    else if (button.hasAttribute("data-pause")) {
      paused = !paused;
      button.setAttribute("aria-pressed", String(paused));
      say(paused ? "Updates are paused" : "Updates go on");
      if (paused) clearTimeout(timer); else refresh();
    }
  });
  page.addEventListener("submit", function (event) {
    var form = event.target, button = event.submitter;
    if (!form.hasAttribute("data-live") || !window.FormData) return;
    event.preventDefault();
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    var body = new URLSearchParams(new FormData(form));
    if (button && button.name) body.set(button.name, button.value);
    if (button) { button.setAttribute("aria-disabled", "true"); button.setAttribute("aria-busy", "true"); }
    say("Working");
    fetch(form.action, { method: "POST", body: body, credentials: "same-origin", cache: "no-store", headers: { Accept: "text/html" } })
      .then(function (response) { return take(response, true); }).catch(failed).then(function () {
        if (button) { button.removeAttribute("aria-disabled"); button.removeAttribute("aria-busy"); }
        busy = false;
        plan();
      });
  });
  document.addEventListener("visibilitychange", function () { if (document.hidden) clearTimeout(timer); else refresh(); });
  dress();
  plan();
})();
