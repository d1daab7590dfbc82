// Paints the rows of a text that are in sight. Text reaches the page by `textContent` and text nodes only.

import { ACTING, escaped, plural } from "./format";
import { FOLD, GONE, type Rows, rowsUntil } from "./layout";
import { FEEDBACK, kind, REPAIR, type Run, SIGNS, type Standing, WORDS, worse } from "./model";

export const ROW = 20;
const SPARE = 6;

export interface Scene {
  run: Run;
  rows: Rows;
  /** The time of the cursor. */
  at: number;
  tape: number;
  cuts: number;
  /** Where the frontier, and what the reader had been sent, is on the tape. */
  proven: number;
  shown: number;
  selected: number;
  /** Which outcome is in focus; null: all. */
  standing: Standing[];
}

export function element(tag: string, name = "", text?: string): HTMLElement {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Append `text` to `parent`, with acting characters as small boxes. */
export function put(parent: Node, text: string): void {
  ACTING.lastIndex = 0;
  let from = 0;
  for (const found of text.matchAll(ACTING)) {
    if (found.index > from) parent.appendChild(document.createTextNode(text.slice(from, found.index)));
    parent.appendChild(element("i", "ctl", escaped(found[0])));
    from = found.index + found[0].length;
  }
  if (from < text.length) parent.appendChild(document.createTextNode(text.slice(from)));
}

/** Build the row with number `index`. */
export function buildRow(scene: Scene, index: number): HTMLElement {
  const { run, rows } = scene;
  const row = element("div", "row");
  const start = rows.start[index];
  const end = Math.min(rows.end[index], scene.tape);
  const gutter = element("span", "gutter");
  row.append(gutter);
  if (rows.kind[index] === FOLD) {
    const dead = run.dead[rows.dead[index]];
    const lines = run.text.slice(dead.a, dead.b).split("\n").length;
    const when = dead.cut < scene.cuts ? "taken back" : "to be taken back";
    const fold = element("button", "fold", `${plural(dead.b - dead.a, "character")} ${when}, ${plural(lines, "line")}`);
    fold.dataset.fold = String(rows.dead[index]);
    fold.setAttribute("aria-expanded", "false");
    row.append(fold);
    row.classList.add("folded");
    return row;
  }
  if (rows.line[index]) gutter.append(element("span", "no", String(rows.line[index])));
  if (rows.kind[index] === GONE) row.classList.add("lost");

  const marks = run.touchingMarks(start, Math.max(end, start + 1));
  let sign: string | null = null;
  let chosen = -1;
  const shown: { a: number; b: number; name: string; index: number }[] = [];
  for (const mark of marks) {
    const outcome = run.outcome(run.checks[mark.index], scene.at);
    if (outcome === null) continue;
    shown.push({ a: mark.a, b: mark.b, name: kind(outcome), index: mark.index });
    const worst = worse(sign, outcome);
    if (worst !== sign) {
      sign = worst;
      chosen = mark.index;
    }
    if (mark.index === scene.selected) row.classList.add("chosen");
  }
  if (sign !== null) {
    const made = element("span", `sign ${kind(sign)}`, SIGNS[sign]);
    made.dataset.check = String(chosen);
    made.title = `${run.monitor(run.checks[chosen].monitor)}: ${WORDS[sign]}`;
    gutter.append(made);
  }
  if (end <= start) return row;

  // Cut the row where anything changes: author, life, checks, frontier, what the reader has.
  const borders = new Set<number>([start, end]);
  const inside = (at: number) => {
    if (at > start && at < end) borders.add(at);
  };
  for (const mark of shown) {
    inside(mark.a);
    inside(mark.b);
  }
  inside(scene.proven);
  inside(scene.shown);
  const deads = run.dead.filter((dead) => dead.cut < scene.cuts && dead.a < end && dead.b > start);
  for (const dead of deads) {
    inside(dead.a);
    inside(dead.b);
  }
  let low = entryAt(run, start);
  const first = low;
  for (; low + 1 < run.count && run.tapeEnd[low] < end; low++) {
    if (run.origin[low] !== run.origin[low + 1] || run.reasoning[low] !== run.reasoning[low + 1]) inside(run.tapeEnd[low]);
  }
  const edges = [...borders].sort((x, y) => x - y);
  let entry = first;
  for (let i = 0; i + 1 < edges.length; i++) {
    const [a, b] = [edges[i], edges[i + 1]];
    while (entry + 1 < run.count && run.tapeEnd[entry] <= a) entry++;
    const lost = deads.some((dead) => dead.a <= a && dead.b >= b);
    const piece = element(lost ? "s" : "span");
    const names: string[] = [];
    if (lost) names.push("gone");
    else {
      if (run.origin[entry] === REPAIR) names.push("ours");
      if (run.origin[entry] === FEEDBACK) names.push("ours said");
      if (a >= scene.proven) names.push("ahead");
      if (a >= scene.shown) names.push("held");
      if (run.reasoning[entry]) names.push("thought");
    }
    let worst: string | null = null;
    let check = -1;
    for (const mark of shown) {
      if (mark.a > a || mark.b < b) continue;
      if (worst === null || mark.name === "violation" || worst === "pass" || mark.index === scene.selected) {
        if (worst !== "violation") worst = mark.name;
        check = mark.index;
      }
    }
    if (worst !== null) {
      names.push("claim", worst);
      piece.dataset.check = String(check);
    }
    if (shown.some((mark) => mark.index === scene.selected && mark.a <= a && mark.b >= b)) names.push("picked");
    if (names.length) piece.className = names.join(" ");
    // A line end within a row is one that was taken back.
    put(piece, run.text.slice(a, b).replaceAll("\n", "⏎"));
    row.append(piece);
  }
  return row;
}

function entryAt(run: Run, tape: number): number {
  let low = 0;
  let high = run.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (run.tapeEnd[middle] <= tape) low = middle + 1;
    else high = middle;
  }
  return Math.min(low, Math.max(0, run.count - 1));
}

/** Keeps the elements of the rows in sight. */
export class Painter {
  private made = new Map<number, HTMLElement>();
  private scene: Scene | null = null;
  private height = -1;

  constructor(
    private readonly box: HTMLElement,
    private readonly scroller: HTMLElement,
  ) {}

  /** Show another scene: every row is made again. */
  show(scene: Scene): void {
    this.scene = scene;
    const count = rowsUntil(scene.rows, Math.max(scene.tape, 1));
    const height = count * ROW;
    if (height !== this.height) {
      this.box.style.height = `${height}px`;
      this.height = height;
    }
    this.box.textContent = "";
    this.made.clear();
    this.paint();
  }

  /** Show the rows that are now in sight. */
  paint(): void {
    const scene = this.scene;
    if (!scene) return;
    const count = this.height / ROW;
    const from = Math.max(0, Math.floor(this.scroller.scrollTop / ROW) - SPARE);
    const to = Math.min(count, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / ROW) + SPARE);
    for (const [index, row] of this.made) {
      if (index < from || index >= to) {
        row.remove();
        this.made.delete(index);
      }
    }
    const fresh = document.createDocumentFragment();
    for (let index = from; index < to; index++) {
      if (this.made.has(index)) continue;
      const row = buildRow(scene, index);
      row.style.transform = `translateY(${index * ROW}px)`;
      this.made.set(index, row);
      fresh.append(row);
    }
    this.box.append(fresh);
  }

  /** Scroll so that row `index` is in sight. */
  reveal(index: number, centre = true): void {
    const top = index * ROW;
    const { scrollTop, clientHeight } = this.scroller;
    if (top >= scrollTop + ROW * 2 && top <= scrollTop + clientHeight - ROW * 3) return;
    this.scroller.scrollTop = centre ? top - clientHeight / 2 : top - clientHeight + ROW * 2;
    this.paint();
  }
}
