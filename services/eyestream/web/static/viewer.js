// A picture as large as the screen, and larger: with the heat map that lies on it, moved by scrolling.

import { fill, h } from "./dom.js";

const ZOOMS = [1, 1.5, 2, 3, 4];

export async function enlarge(title, picture, overlay) {
  let zoom = 0;
  const image = h("img", { alt: title });
  const heat = h("canvas", { width: "1024", height: "1024", "aria-hidden": "true" });
  heat.getContext("2d").drawImage(overlay, 0, 0, 1024, 1024);
  heat.style.opacity = overlay.style.opacity || 1;
  const sheet = h("div", { class: "sheet" }, h("p", { class: "loading" }, "Loading the picture…"));
  const place = h("div", { class: "place", tabindex: "0", role: "region", "aria-label": "The picture; arrows move it" }, sheet);
  const told = h("span", { role: "status" });
  const set = (step) => {
    zoom = Math.max(0, Math.min(ZOOMS.length - 1, step));
    const { scrollLeft, scrollTop, clientWidth, clientHeight, scrollWidth, scrollHeight } = place;
    const [x, y] = [(scrollLeft + clientWidth / 2) / scrollWidth, (scrollTop + clientHeight / 2) / scrollHeight];
    sheet.style.width = sheet.style.height = `${ZOOMS[zoom] * Math.min(clientWidth, clientHeight)}px`;
    place.scrollTo(x * place.scrollWidth - clientWidth / 2, y * place.scrollHeight - clientHeight / 2);
    fill(told, `${Math.round(100 * ZOOMS[zoom])}\u00a0%`);
    [smaller.disabled, larger.disabled] = [zoom === 0, zoom === ZOOMS.length - 1];
  };
  const smaller = h("button", { type: "button", onclick: () => set(zoom - 1) }, "Smaller");
  const larger = h("button", { type: "button", onclick: () => set(zoom + 1) }, "Larger");
  const dialog = h("dialog", { class: "viewer", "aria-label": title },
    h("div", { class: "bar-above" }, h("h2", {}, title), told, smaller, larger, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")), place);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  set(0);
  larger.focus();
  try {
    image.src = await picture();
    fill(sheet, image, heat);
  } catch (error) {
    fill(sheet, h("p", { role: "alert" }, error.message));
  }
}
