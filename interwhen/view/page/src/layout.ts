// The rows of the text: where each begins and ends on the tape. All rows have one height, so that only those in sight
// need elements.

import { after, first, type Run } from "./model";

export const LINE = 0;
/** A further row of a wrapped line. */
export const WRAP = 1;
/** Text that a cut took back, on rows of its own. */
export const GONE = 2;
/** The same, folded into one row. */
export const FOLD = 3;

export interface Rows {
  count: number;
  start: Int32Array;
  end: Int32Array;
  /** The number of the line in the trace; 0: the row begins no line. */
  line: Int32Array;
  kind: Uint8Array;
  /** For rows of taken back text: the index in `run.dead`; else -1. */
  dead: Int32Array;
}

/** Short text that was taken back stays in its line, and its line ends are shown as signs. */
const INLINE = 160;

class Growing {
  start = new Int32Array(1024);
  end = new Int32Array(1024);
  line = new Int32Array(1024);
  kind = new Uint8Array(1024);
  dead = new Int32Array(1024);
  count = 0;

  push(start: number, end: number, line: number, kind: number, dead: number): void {
    if (this.count === this.start.length) {
      const more = this.count * 2;
      for (const name of ["start", "end", "line", "dead"] as const) {
        const wider = new Int32Array(more);
        wider.set(this[name]);
        this[name] = wider;
      }
      const kinds = new Uint8Array(more);
      kinds.set(this.kind);
      this.kind = kinds;
    }
    this.start[this.count] = start;
    this.end[this.count] = end;
    this.line[this.count] = line;
    this.kind[this.count] = kind;
    this.dead[this.count] = dead;
    this.count++;
  }
}

/** The columns that the character at `i` takes. */
function columns(text: string, i: number): number {
  const code = text.charCodeAt(i);
  if (code >= 32 && code < 127) return 1;
  if (code === 9) return 4;
  if (code < 32 || code === 127) return 1;
  if (code < 0xa0 || code === 0xad) return 6;
  if (code < 0x1100) return 1;
  if (code >= 0x200b && code <= 0x206f) return code === 0x200c || code === 0x200d ? 1 : code < 0x2010 || code > 0x2027 ? 6 : 1;
  if (code >= 0xd800 && code <= 0xdfff) return 1;
  if (code === 0xfeff || (code >= 0xfe00 && code <= 0xfe0d)) return 6;
  const wide =
    code <= 0x115f ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60);
  return wide ? 2 : 1;
}

/** Lay out the tape up to `tape`, as it looks after the first `cuts` cuts. `open`: indexes of unfolded parts. */
export function layOut(run: Run, cuts: number, tape: number, width: number, open: ReadonlySet<number>, fold: boolean): Rows {
  const rows = new Growing();
  const text = run.text;
  let line = 0;
  let begun = false; // whether the current line has its number
  let rowStart = -1;
  let used = 0;

  const close = (end: number) => {
    if (rowStart < 0) return;
    if (!begun) line++;
    rows.push(rowStart, end, begun ? 0 : line, begun ? WRAP : LINE, -1);
    begun = true;
    rowStart = -1;
    used = 0;
  };

  // Text that stands, and short ghosts, where line ends do not break.
  const flow = (a: number, b: number, ghost: boolean) => {
    let blank = -1; // after the last blank of this row
    let i = a;
    while (i < b) {
      if (rowStart < 0) {
        rowStart = i;
        used = 0;
        blank = -1;
      }
      const code = text.charCodeAt(i);
      if (code === 10 && !ghost) {
        close(i);
        begun = false;
        rowStart = i + 1;
        used = 0;
        blank = -1;
        i++;
        continue;
      }
      const wide = columns(text, i);
      if (used + wide > width && i > rowStart) {
        let at = blank > rowStart && used - (i - blank) > width * 0.5 ? blank : i;
        if (at === i && code >= 0xdc00 && code <= 0xdfff && at - 1 > rowStart) at--;
        close(at);
        rowStart = at;
        used = 0;
        for (let k = at; k < i; k++) used += columns(text, k);
        blank = -1;
        continue;
      }
      used += wide;
      i++;
      if (code === 32) blank = i;
    }
  };

  const block = (a: number, b: number, dead: number, folded: boolean) => {
    if (rowStart < a) close(a);
    rowStart = -1;
    if (folded) {
      rows.push(a, b, 0, FOLD, dead);
      return;
    }
    let start = a;
    let at = 0;
    for (let i = a; i < b; i++) {
      const code = text.charCodeAt(i);
      if (code === 10) {
        rows.push(start, i, 0, GONE, dead);
        start = i + 1;
        at = 0;
        continue;
      }
      const wide = columns(text, i);
      if (at + wide > width && i > start) {
        rows.push(start, i, 0, GONE, dead);
        start = i;
        at = 0;
      }
      at += wide;
    }
    if (start < b) rows.push(start, b, 0, GONE, dead);
  };

  let from = 0;
  run.dead.forEach((dead, index) => {
    if (dead.cut >= cuts || dead.a >= tape) return;
    flow(from, dead.a, false);
    const end = Math.min(dead.b, tape);
    const length = end - dead.a;
    const newlines = length <= INLINE ? text.slice(dead.a, end).split("\n").length - 1 : 2;
    if (newlines <= 1) flow(dead.a, end, true);
    else block(dead.a, end, index, fold && !open.has(index));
    from = end;
  });
  flow(from, tape, false);
  if (rowStart >= 0 && rowStart < tape) close(tape);
  return rows;
}

/** The row that holds the place `at` of the tape. */
export function rowOf(rows: Rows, at: number): number {
  return Math.max(0, after(rows.start.subarray(0, rows.count), at) - 1);
}

/** How many rows begin before the place `tape`. */
export function rowsUntil(rows: Rows, tape: number): number {
  return first(rows.count, (i) => rows.start[i] >= tape);
}
