// Counts what goes wrong on the page, before anything else runs.
(function () {
  var page = document.documentElement, count = 0;
  function note(message) { page.dataset.errors = ++count; page.dataset.lastError = String(message); }
  page.dataset.errors = "0";
  window.addEventListener("error", function (event) { note(event.message); });
  window.addEventListener("unhandledrejection", function (event) { note(event.reason); });
  document.addEventListener("securitypolicyviolation", function (event) { note(event.violatedDirective); });
  var log = console.error;
  console.error = function () { note(arguments[0]); log.apply(console, arguments); };
})();
