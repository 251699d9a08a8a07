// The table of nodes: what there is, whether it can be reached, and how much of it is promised. Without nodes there is no table.

import { attribute, el, reconcile, text } from "./dom.js";
import { DASH, bytes, count, number } from "./format.js";

/** Columns in the order of the head of the table in index.html. */
const COLUMNS = ["name", "state", "kind", "place", "price", "instances", "cores", "memory", "peak"];
const TEXTS = 4;

export function showNodes(panel, parent, meta, nodes) {
  panel.hidden = nodes.length === 0;
  reconcile(parent, nodes, {
    key: (node) => node.name,
    make: () => el("tr", {}, ...COLUMNS.map((column, at) => (at === 0 ? el("th", { scope: "row" }) : el("td", { class: at < TEXTS ? null : "num" })))),
    update: fill,
  });
  text(meta, count(nodes.length, "node"));
}

function fill(row, node) {
  const values = {
    name: node.name,
    state: state(node),
    kind: node.kind || DASH,
    place: node.place || DASH,
    price: node.price > 0 ? number(node.price) : DASH,
    instances: node.instances,
    cores: `${number(node.cores_promised)} of ${number(node.cores)}`,
    memory: `${bytes(node.memory_promised_bytes)} of ${bytes(node.memory_bytes)}`,
    peak: `${number(node.forecast_peak_cores)} cores`,
  };
  COLUMNS.forEach((column, at) => text(row.children[at], values[column]));
  attribute(row, "data-sick", !node.up || node.health === "silent");
  attribute(row.children[1], "title", node.silent_because ?? null);
}

function state(node) {
  if (!node.up) return "lost";
  if (node.health === "silent") return "engine silent";
  return node.spare ? "spare" : "up";
}
