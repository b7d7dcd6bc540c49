// Who asks: a key or token, typed once and kept for as long as the tab is open.

import { session } from "./api.js";
import { fill, h, heading } from "./dom.js";

export function showSignIn(main, why, signIn) {
  const key = h("input", { type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-hint" });
  const message = h("p", { role: "alert", class: "message" }, why);
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", { class: "signin", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(message);
    try {
      await signIn(key.value.trim());
    } catch (error) {
      session.key = null;
      session.me = null;
      fill(message, error.status === 401 ? "The service does not know this key, or it has expired." : error.message);
      key.select();
      key.focus();
    } finally {
      button.disabled = false;
    }
  } },
  heading("Sign in"),
  h("label", { class: "field" }, h("span", {}, "API key or token"), key),
  h("p", { id: "key-hint", class: "hint" }, "Your programme's operator gave it to you. It is kept in this tab only, and gone when you close it."),
  message, button);
  fill(main, form);
  key.focus();
}
