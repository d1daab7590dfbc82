// Shows the rows of a text that are in sight. Text reaches the page by `textContent` and text nodes only.
//
// A row's elements are used again for other rows, and only what differs is written: while the text is scrolled, the
// browser has neither elements to make nor elements to collect.

import { ACTING, ACTS, escaped, plural } from "./format";
import { FOLD, GONE, type Rows, rowsUntil } from "./layout";
import { type CheckMark, FEEDBACK, kind, REPAIR, type Run, SIGNS, WORDS, worse } from "./model";

export const ROW = 20;
/** How many rows are kept above, and below, those in sight. */
const SPARE = 4;

export interface Scene {
  run: Run;
  rows: Rows;
  /** Where the cursor is in the order of the run. */
  moment: number;
  tape: number;
  cuts: number;
  /** Where the frontier, and what the reader had been sent, is on the tape. */
  proven: number;
  shown: number;
  selected: number;
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

// The style of a piece of text, as bits. The last ones are the outcome of its check.
const LOST = 1;
const OURS = 2;
const SAID = 4;
const AHEAD = 8;
const HELD = 16;
const THOUGHT = 32;
const PICKED = 64;
const KIND = 128;
const BITS = ["gone", "ours", "said", "ahead", "held", "thought", "picked"];
const KINDS = ["", "claim pass", "claim violation", "claim unknown", "claim open", "claim quiet"];
const PASS = 1;
const VIOLATION = 2;
const CODES: Record<string, number> = { pass: PASS, violation: VIOLATION, unknown: 3, open: 4, quiet: 5 };
const NAMES: string[] = [];

/** The class names of a style. */
function nameOf(style: number): string {
  return (NAMES[style] ??= [...BITS.filter((_, bit) => style & (1 << bit)), KINDS[Math.floor(style / KIND)]].filter(Boolean).join(" "));
}

/** An element with one text, which is written only if it differs from the one that is there. */
class Words {
  private text = "";
  private node: Text | null = null;
  private style = 0;
  private check = -1;

  constructor(readonly element: HTMLElement) {}

  /** Write a text without acting characters. */
  plain(text: string): void {
    if (text === this.text) return;
    this.text = text;
    if (this.node) this.node.data = text;
    else {
      this.element.textContent = "";
      this.element.append((this.node = document.createTextNode(text)));
    }
  }

  /** Write any text. */
  foreign(text: string): void {
    if (text === this.text) return;
    if (!ACTS.test(text)) return this.plain(text);
    this.text = text;
    this.node = null;
    this.element.textContent = "";
    put(this.element, text);
  }

  dress(style: number): void {
    if (style === this.style) return;
    this.style = style;
    this.element.className = nameOf(style);
  }

  /** Say which check a click on the element chooses; -1: none. */
  about(check: number): void {
    if (check === this.check) return;
    this.check = check;
    if (check < 0) this.element.removeAttribute("data-check");
    else this.element.setAttribute("data-check", String(check));
  }
}

// What a row is made of. Kept between rows, so that a frame of scrolling leaves nothing to collect.
const marks: CheckMark[] = [];
const codes: number[] = [];
const edges: number[] = [];

/** Add a place to the sorted `edges`, if it lies between the first and the last of them. */
function cutAt(at: number): void {
  let i = edges.length - 1;
  if (at <= edges[0] || at >= edges[i]) return;
  while (edges[i - 1] > at) i--;
  if (edges[i - 1] !== at) edges.splice(i, 0, at);
}

/** The element of a row. It shows one row after the other. */
export class RowElement {
  readonly element = element("div", "row");
  private readonly gutter = element("span", "gutter");
  private readonly number = new Words(element("span", "no"));
  private readonly sign = new Words(element("span"));
  private signed = "";
  private name = "row";
  private fold: Words | null = null;
  /** The pieces of the text. Those after the first `used` are not in the page. */
  private readonly pieces: Words[] = [];
  private used = 0;

  constructor() {
    this.gutter.append(this.number.element, this.sign.element);
    this.element.append(this.gutter);
  }

  /** Show the row with number `index`. */
  show(scene: Scene, index: number): void {
    const { run, rows } = scene;
    const start = rows.start[index];
    const end = Math.min(rows.end[index], scene.tape);
    if (rows.kind[index] === FOLD) return this.folded(scene, index);
    this.fold?.element.remove();
    this.number.plain(rows.line[index] ? String(rows.line[index]) : "");

    run.touchingMarks(start, Math.max(end, start + 1), marks);
    codes.length = 0;
    let sign: string | null = null;
    let worst = -1;
    let chosen = false;
    let known = 0;
    const gone = rows.kind[index] === GONE ? run.dead[rows.dead[index]].cut : Infinity;
    for (const mark of marks) {
      const outcome = run.outcome(run.checks[mark.index], scene.moment);
      if (outcome === null || mark.cuts > gone) continue;
      marks[known++] = mark;
      codes.push(CODES[kind(outcome)]);
      if (worse(sign, outcome) !== sign) {
        sign = outcome;
        worst = mark.index;
      }
      chosen ||= mark.index === scene.selected;
    }
    marks.length = known;
    this.signAs(scene, sign, worst);
    this.dress(rows.kind[index] === GONE ? (chosen ? "row lost chosen" : "row lost") : chosen ? "row chosen" : "row");
    this.keep(end > start ? this.write(scene, start, end) : 0);
  }

  /** Write the text in [start, end), cut where anything changes: author, life, checks, frontier, what the reader has. */
  private write(scene: Scene, start: number, end: number): number {
    const { run } = scene;
    edges.length = 0;
    edges.push(start, end);
    for (const mark of marks) {
      cutAt(mark.a);
      cutAt(mark.b);
    }
    cutAt(scene.proven);
    cutAt(scene.shown);
    const first = run.deadFrom(start);
    for (let i = first; i < run.dead.length && run.dead[i].a < end; i++) {
      if (run.dead[i].cut >= scene.cuts) continue;
      cutAt(run.dead[i].a);
      cutAt(run.dead[i].b);
    }
    const seam = run.seamAfter(start);
    for (let i = seam; i < run.seams.length && run.seams[i].at < end; i++) cutAt(run.seams[i].at);

    let dead = first;
    let style = seam;
    for (let i = 0; i + 1 < edges.length; i++) {
      const a = edges[i];
      const b = edges[i + 1];
      while (dead < run.dead.length && (run.dead[dead].b <= a || run.dead[dead].cut >= scene.cuts)) dead++;
      while (style < run.seams.length && run.seams[style].at <= a) style++;
      const lost = dead < run.dead.length && run.dead[dead].a <= a;
      const by = run.seams[style - 1];
      let look = 0;
      if (lost) look = LOST;
      else {
        if (by.origin === REPAIR) look |= OURS;
        else if (by.origin === FEEDBACK) look |= OURS | SAID;
        if (a >= scene.proven) look |= AHEAD;
        if (a >= scene.shown) look |= HELD;
        if (by.reasoning) look |= THOUGHT;
      }
      let outcome = 0;
      let check = -1;
      for (let m = 0; m < marks.length; m++) {
        const mark = marks[m];
        if (mark.a > a || mark.b < b || (lost && mark.cuts > run.dead[dead].cut)) continue;
        const selected = mark.index === scene.selected;
        if (selected) look |= PICKED;
        if (outcome === 0 || codes[m] === VIOLATION || outcome === PASS || selected) {
          if (outcome !== VIOLATION) outcome = codes[m];
          check = mark.index;
        }
      }
      const piece = this.piece(i, lost);
      piece.dress(look + KIND * outcome);
      piece.about(check);
      const text = run.text.slice(a, b);
      // A line end within a row is one that was taken back.
      const shown = lost ? text.replaceAll("\n", "⏎") : text;
      if (run.acts) piece.foreign(shown);
      else piece.plain(shown);
    }
    return edges.length - 1;
  }

  /** The piece with number `i`, struck if it is `lost`. */
  private piece(i: number, lost: boolean): Words {
    const tag = lost ? "S" : "SPAN";
    const known = this.pieces[i];
    if (known?.element.tagName === tag) {
      if (i >= this.used) this.element.append(known.element);
    } else {
      const made = new Words(element(tag));
      if (known && i < this.used) known.element.replaceWith(made.element);
      else this.element.append(made.element);
      this.pieces[i] = made;
    }
    this.used = Math.max(this.used, i + 1);
    return this.pieces[i];
  }

  private keep(pieces: number): void {
    while (this.used > pieces) this.pieces[--this.used].element.remove();
  }

  private dress(name: string): void {
    if (name !== this.name) this.element.className = this.name = name;
  }

  private signAs(scene: Scene, outcome: string | null, check: number): void {
    const { sign } = this;
    sign.plain(outcome === null ? "" : SIGNS[outcome]);
    sign.about(check);
    const name = outcome === null ? "" : `sign ${kind(outcome)}`;
    const title = outcome === null ? "" : `${scene.run.monitor(scene.run.checks[check].monitor)}: ${WORDS[outcome]}`;
    if (title === this.signed) return;
    this.signed = title;
    if (sign.element.className !== name) sign.element.className = name;
    if (title) sign.element.title = title;
    else sign.element.removeAttribute("title");
  }

  private folded(scene: Scene, index: number): void {
    const { run, rows } = scene;
    const dead = run.dead[rows.dead[index]];
    const lines = run.text.slice(dead.a, dead.b).split("\n").length;
    const when = dead.cut < scene.cuts ? "taken back" : "to be taken back";
    this.fold ??= new Words(element("button", "fold"));
    const { element: button } = this.fold;
    this.fold.plain(`${plural(dead.b - dead.a, "character")} ${when}, ${plural(lines, "line")}`);
    button.dataset.fold = String(rows.dead[index]);
    button.setAttribute("aria-expanded", "false");
    this.number.plain("");
    this.signAs(scene, null, -1);
    this.dress("row folded");
    this.keep(0);
    if (button.parentNode !== this.element) this.element.append(button);
  }
}

/** What a window shows in one line. */
export interface Line {
  readonly element: HTMLElement;
  show(index: number): void;
}

/** Keeps elements for the lines in sight, in the order of the text, in one block that is moved as a whole. */
export class LineWindow<T extends Line> {
  private readonly block = element("div", "block");
  private readonly lines: T[] = [];
  private from = 0;
  private count = 0;
  private place = -1;

  constructor(
    private readonly box: HTMLElement,
    private readonly scroller: HTMLElement,
    private readonly make: () => T,
  ) {
    box.append(this.block);
  }

  /** Say that there are `count` lines, and that each may be another one than before. */
  show(count: number): void {
    if (count !== this.count) this.box.style.height = `${count * ROW}px`;
    this.count = count;
    this.paint(true);
  }

  /** Show the lines that are now in sight: those that were not in sight before, or all of them. */
  paint(all = false): void {
    const { lines, scroller, count } = this;
    const most = Math.ceil(scroller.clientHeight / ROW) + 1 + 2 * SPARE;
    const size = Math.min(count, most);
    const from = Math.max(0, Math.min(count - size, Math.floor(scroller.scrollTop / ROW) - SPARE));
    const before = lines.length;
    while (lines.length > size) lines.pop()!.element.remove();
    const moved = from - this.from;
    // Lines that stay in sight keep their elements: those that leave on one side come back on the other.
    if (!all && lines.length === size && Math.abs(moved) < size) {
      for (let i = 0; i < moved; i++) {
        const line = lines.shift()!;
        this.block.append(line.element);
        lines.push(line);
        line.show(from + size - moved + i);
      }
      for (let i = 0; i < -moved; i++) {
        const line = lines.pop()!;
        this.block.prepend(line.element);
        lines.unshift(line);
        line.show(from - moved - 1 - i);
      }
    } else {
      while (lines.length < size) {
        const line = this.make();
        this.block.append(line.element);
        lines.push(line);
      }
      for (let i = all || moved ? 0 : before; i < size; i++) lines[i].show(from + i);
    }
    this.from = from;
    if (from !== this.place) this.block.style.transform = `translateY(${from * ROW}px)`;
    this.place = from;
  }
}

/** Keeps the elements of the rows in sight. */
export class Painter {
  private scene: Scene | null = null;
  private readonly window: LineWindow<Line>;

  constructor(
    box: HTMLElement,
    private readonly scroller: HTMLElement,
  ) {
    this.window = new LineWindow(box, scroller, () => {
      const row = new RowElement();
      return { element: row.element, show: (index) => row.show(this.scene!, index) };
    });
  }

  /** Show another scene. */
  show(scene: Scene): void {
    this.scene = scene;
    this.window.show(rowsUntil(scene.rows, Math.max(scene.tape, 1)));
  }

  /** Show the rows that are now in sight. */
  paint(): void {
    if (this.scene) this.window.paint();
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
