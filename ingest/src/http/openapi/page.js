// Shows the document of this service. Where it needs a key, the page asks for one and keeps it as long as its tab is open.
"use strict";
(function () {
  const form = document.getElementById("ask");
  const field = document.getElementById("key");
  const said = document.getElementById("said");
  const kept = "write-behind-key";

  const show = (spec, key) => {
    const ui = SwaggerUIBundle({
      spec,
      dom_id: "#api",
      deepLinking: true,
      validatorUrl: null,
      tryItOutEnabled: false,
      presets: [SwaggerUIBundle.presets.apis],
      onComplete: () => { if (key) ui.preauthorizeApiKey("key", key); },
    });
  };

  const load = async (key) => {
    const headers = key ? { Authorization: "Bearer " + key } : {};
    const answer = await fetch("openapi.json", { headers });
    if (answer.ok) {
      if (key) sessionStorage.setItem(kept, key);
      form.hidden = !key;
      said.textContent = "";
      show(await answer.json(), key);
    } else if (answer.status === 401) {
      sessionStorage.removeItem(kept);
      form.hidden = false;
      said.textContent = key ? "this key is not known" : "";
      field.focus();
    } else {
      form.hidden = false;
      said.textContent = "openapi.json: " + answer.status;
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    load(field.value.trim());
  });
  load(sessionStorage.getItem(kept));
})();
