// The few ways in which this page touches the document. Everything that comes from the API goes in as text, never as markup.

/** Makes an element: el("span", { class: "pill", title: "x" }, "text", child). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** As `el`, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  node.append(...children);
  return node;
}

/** Sets a text if it changed, so that nothing is laid out or announced again without need. */
export function text(node, value) {
  const wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Sets, or with null or false removes, an attribute if it changed. */
export function attribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const wanted = value === true ? "" : String(value);
  if (node.getAttribute(name) !== wanted) node.setAttribute(name, wanted);
}

/**
 * Makes the children of `parent` match `items` in order: reuses the child made for the same key, makes missing ones with `make(item)`,
 * updates all with `update(child, item)` and removes the rest.
 */
export function reconcile(parent, items, { key, make, update }) {
  const known = new Map();
  for (const child of parent.children) known.set(child.dataset.key, child);
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    let child = known.get(id);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = id;
    }
    known.delete(id);
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
}
