// A run as the page needs it: the columns of the compact form in typed arrays, and what can be asked of them.
//
// The tape holds every character that was ever written, once and in order. What a cut took back stays on the tape and
// has a time of death. So the text at any moment is the tape up to there, without the parts that had died by then.

import type { CheckData, RunData, Span } from "./data";
import { ACTS } from "./format";

export interface Dead {
  /** The part of the tape that a cut took back. */
  a: number;
  b: number;
  /** The index of the cut and its time. */
  cut: number;
  at: number;
}

/** A standing part of the tape, and the offset of its start in the trace. */
export interface Standing {
  a: number;
  b: number;
  s: number;
}

export interface CheckMark {
  index: number;
  a: number;
  b: number;
}

/** Where the tape changes its author or its phase. */
export interface Seam {
  at: number;
  origin: number;
  reasoning: number;
}

export class Steps {
  constructor(
    readonly at: Float64Array,
    readonly to: Float64Array,
  ) {}

  /** The value at time `t`; `otherwise` before the first step. */
  value(t: number, otherwise = 0): number {
    const i = after(this.at, t) - 1;
    return i < 0 ? otherwise : this.to[i];
  }
}

/** The number of items of the sorted `values` that are at most `x`. */
export function after(values: ArrayLike<number>, x: number): number {
  return first(values.length, (i) => values[i] > x);
}

/** The first of the numbers below `count` for which `holds`; it holds for all after it, too. */
export function first(count: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

export const MODEL = 0;
export const REPAIR = 1;
export const FEEDBACK = 2;

export class Run {
  readonly text: string;
  readonly count: number;
  /** For each entry: its end on the tape, its time, the length of the trace after it. */
  readonly tapeEnd: Float64Array;
  readonly at: Float64Array;
  readonly length: Float64Array;
  /** The author and phase of the text from each seam on. The first one is at the start. */
  readonly seams: Seam[] = [{ at: 0, origin: MODEL, reasoning: 0 }];
  /** Whether any character of the text acts on others, so that it is shown as a box. */
  readonly acts: boolean;
  readonly weight: Map<number, number>;
  /** In the order of the tape. No two overlap, because a character is taken back once. */
  readonly dead: Dead[];
  readonly cutAt: Float64Array;
  readonly frontier: Steps;
  readonly shown: Steps | null;
  readonly end: number;
  readonly checks: CheckData[];
  /** The checks with a place on the tape, by the start of that place. */
  readonly marks: CheckMark[];
  private readonly markEnds: Float64Array;
  readonly violations: number[];
  readonly over: boolean;

  constructor(readonly data: RunData) {
    const chars = data.tokens?.chars ?? [];
    const gaps = data.tokens?.gaps ?? [];
    const n = (this.count = chars.length);
    this.text = data.text ?? "";
    // With surrogates, a border of a piece may fall between two halves.
    this.acts = ACTS.test(this.text) || /[\ud800-\udfff]/.test(this.text);
    this.tapeEnd = new Float64Array(n);
    this.at = new Float64Array(n);
    this.length = new Float64Array(n);
    this.weight = new Map(data.weights ?? []);
    const cuts = data.cuts ?? [];
    this.cutAt = Float64Array.from(cuts, (cut) => cut[2]);
    this.dead = [];
    const standing: Standing[] = [];
    let tape = 0;
    let time = 0;
    let trace = 0;
    let style = 0;
    let next = 0;
    const styles = data.styles ?? [];
    for (let i = 0; i <= n; i++) {
      while (next < cuts.length && (cuts[next][0] <= i || i === n)) {
        this.kill(standing, cuts[next][1], next, cuts[next][2]);
        trace = Math.min(trace, cuts[next][1]);
        next++;
      }
      if (i === n) break;
      while (style < styles.length && styles[style][0] <= i) {
        const [, phase, author] = styles[style++];
        const origin = author === "repair" ? REPAIR : author === "feedback" ? FEEDBACK : MODEL;
        this.seams.push({ at: tape, origin, reasoning: phase === "reasoning" ? 1 : 0 });
      }
      const last = standing[standing.length - 1];
      if (last && last.b === tape && last.s + last.b - last.a === trace) last.b += chars[i];
      else standing.push({ a: tape, b: tape + chars[i], s: trace });
      tape += chars[i];
      trace += chars[i];
      time += gaps[i] ?? 0;
      this.tapeEnd[i] = tape;
      this.at[i] = time;
      this.length[i] = trace;
    }
    this.dead.sort((x, y) => x.a - y.a);
    this.frontier = steps(data.frontier);
    this.shown = data.shown ? steps(data.shown) : null;
    this.checks = data.checks ?? [];
    this.over = data.status !== undefined;
    const lastCheck = this.checks.reduce((most, c) => Math.max(most, c?.ended ?? c?.ordered ?? 0), 0);
    this.end = Math.max(data.end ?? 0, time, lastCheck, 1);
    this.marks = [];
    this.violations = [];
    this.checks.forEach((check, index) => {
      if (!check) return;
      const place = this.place(check);
      if (place) this.marks.push({ index, a: place[0], b: Math.max(place[1], place[0] + 1) });
      if (check.outcome === "violation") this.violations.push(index);
    });
    this.marks.sort((x, y) => x.a - y.a || x.b - y.b);
    this.markEnds = new Float64Array(this.marks.length);
    let most = 0;
    this.marks.forEach((mark, i) => (this.markEnds[i] = most = Math.max(most, mark.b)));
  }

  private kill(standing: Standing[], to: number, cut: number, at: number): void {
    while (standing.length) {
      const last = standing[standing.length - 1];
      if (last.s >= to) {
        if (last.b > last.a) this.dead.push({ a: last.a, b: last.b, cut, at });
        standing.pop();
        continue;
      }
      const keep = last.a + to - last.s;
      if (keep < last.b) {
        this.dead.push({ a: keep, b: last.b, cut, at });
        last.b = keep;
      }
      break;
    }
  }

  /** How many entries had been written at time `t`. */
  entries(t: number): number {
    return after(this.at, t);
  }

  /** The length of the tape at time `t`. */
  tape(t: number): number {
    const n = this.entries(t);
    return n ? this.tapeEnd[n - 1] : 0;
  }

  /** How many cuts had been made at time `t`. */
  cuts(t: number): number {
    return after(this.cutAt, t);
  }

  /** The parts of the tape that stood at time `t`, in order. */
  standing(t: number): Standing[] {
    const end = this.tape(t);
    const found: Standing[] = [];
    let a = 0;
    let s = 0;
    const add = (b: number) => {
      if (b <= a) return;
      found.push({ a, b, s });
      s += b - a;
    };
    for (const dead of this.dead) {
      if (dead.a >= end) break;
      if (dead.at > t) continue;
      add(Math.min(dead.a, end));
      a = Math.max(a, dead.b);
    }
    add(end);
    return found;
  }

  /** The place on the tape of the offset `to` of the trace at time `t`. */
  onTape(to: number, t: number): number {
    for (const part of this.standing(t)) if (to < part.s + part.b - part.a) return part.a + Math.max(0, to - part.s);
    return this.tape(t);
  }

  /** The length of the trace at time `t`. */
  written(t: number): number {
    const n = this.entries(t);
    const c = this.cuts(t);
    let length = n ? this.length[n - 1] : 0;
    // A cut after the last entry has nothing written behind it yet.
    const cuts = this.data.cuts ?? [];
    for (let i = c - 1; i >= 0 && cuts[i][0] >= n; i--) length = Math.min(length, cuts[i][1]);
    return length;
  }

  /** How much of the trace the reader had been sent at time `t`. A step to -1 says that he has all of it again. */
  sent(t: number): number {
    const to = this.shown ? this.shown.value(t, -1) : -1;
    return to < 0 ? this.written(t) : Math.min(to, this.written(t));
  }

  /** The times at which something reached the reader. */
  readerTimes(): Float64Array {
    const steps = this.shown;
    if (!steps) return this.at;
    const times: number[] = [];
    let i = 0;
    let free = true;
    for (let step = 0; step <= steps.at.length; step++) {
      const until = step < steps.at.length ? steps.at[step] : Infinity;
      for (; i < this.count && this.at[i] < until; i++) if (free) times.push(this.at[i]);
      if (step === steps.at.length) break;
      times.push(until);
      free = steps.to[step] < 0;
    }
    return Float64Array.from(times);
  }

  /** The frontier at time `t`. A cut takes it back. */
  proven(t: number): number {
    // A monitor that only observes a recorded text has no frontier.
    if (this.data.rechecked !== undefined) return this.written(t);
    return Math.min(this.frontier.value(t), this.written(t));
  }

  /** The marks that touch [a, b), written into `found`. */
  touchingMarks(a: number, b: number, found: CheckMark[] = []): CheckMark[] {
    found.length = 0;
    for (let i = first(this.marks.length, (k) => this.marks[k].a >= b) - 1; i >= 0 && this.markEnds[i] > a; i--) if (this.marks[i].b > a) found.push(this.marks[i]);
    return found.reverse();
  }

  /** The index of the first part that was taken back and ends after `at`. */
  deadFrom(at: number): number {
    return first(this.dead.length, (i) => this.dead[i].b > at);
  }

  /** The index of the first seam after `at`. */
  seamAfter(at: number): number {
    return first(this.seams.length, (i) => this.seams[i].at > at);
  }

  /** The outcome of a check as it was known at time `t`; null: the check had not been ordered. */
  outcome(check: CheckData, t: number): string | null {
    if ((check.ordered ?? 0) > t) return null;
    if (check.ended === undefined || check.ended > t) return "open";
    return check.outcome ?? "open";
  }

  /** The final text that stands. */
  finalText(): string {
    return this.standing(Infinity).map((part) => this.text.slice(part.a, part.b)).join("");
  }

  /** The place of a check on the tape: that of its span, as the trace was when it was ordered. */
  place(check: CheckData): Span | undefined {
    const { tape, span } = check;
    const t = check.ordered ?? 0;
    if (!tape || !span || !this.text || this.slice(tape[0], tape[1], t).length === span[1] - span[0]) return tape;
    // Its text was repaired, so it goes on after the part that was taken back.
    const a = this.onTape(span[0], t);
    const b = this.onTape(span[1] - 1, t) + 1;
    return b > a ? [a, b] : tape;
  }

  /** The text of the tape in [a, b) that stood at time `t`. */
  slice(a: number, b: number, t: number): string {
    let found = "";
    let from = a;
    for (const dead of this.dead) {
      if (dead.a >= b) break;
      if (dead.at > t || dead.b <= from) continue;
      found += this.text.slice(from, Math.max(from, dead.a));
      from = dead.b;
    }
    return found + this.text.slice(from, Math.max(from, b));
  }

  /** The text that stood at time `t`. */
  textAt(t: number): string {
    return this.standing(t).map((part) => this.text.slice(part.a, part.b)).join("");
  }

  /** The time at which the character of the tape before `to` was written. */
  writtenAt(to: number): number {
    return this.at[Math.min(after(this.tapeEnd, to - 1), this.count - 1)] ?? 0;
  }

  /** The name of the journal's file, and the monitor that checked it again. */
  get title(): string {
    const file = (this.data.path ?? "").split("/").pop() || "run";
    return this.data.rechecked === undefined ? file : `${file} with ${this.data.rechecked}`;
  }

  monitor(index: number | undefined): string {
    return this.data.monitors?.[index ?? 0]?.name ?? "?";
  }

  /** The number of tokens of the model in the entries [from, to). */
  tokensIn(from: number, to: number): number {
    let sum = 0;
    for (let i = from; i < to; i++) sum += this.weight.get(i) ?? 1;
    return sum;
  }
}

function steps(raw: { gaps: number[]; to: number[] } | undefined): Steps {
  const n = raw?.to.length ?? 0;
  const at = new Float64Array(n);
  let time = 0;
  for (let i = 0; i < n; i++) at[i] = time += raw!.gaps[i] ?? 0;
  return new Steps(at, Float64Array.from(raw?.to ?? []));
}

export const SIGNS: Record<string, string> = {
  pass: "✓",
  violation: "✗",
  unknown: "?",
  open: "…",
  error: "!",
  timed_out: "!",
  cancelled: "–",
  skipped: "–",
};

export const WORDS: Record<string, string> = {
  pass: "pass",
  violation: "violation",
  unknown: "unknown",
  open: "open",
  error: "error",
  timed_out: "timed out",
  cancelled: "cancelled",
  skipped: "skipped",
};

/** The order in which outcomes win a line's sign: the worst first. */
const RANK = ["violation", "error", "timed_out", "unknown", "open", "pass", "skipped", "cancelled"];

export function worse(a: string | null, b: string): string {
  if (a === null) return b;
  return RANK.indexOf(b) < RANK.indexOf(a) ? b : a;
}

/** The class of an outcome: its colour and its underline. */
export function kind(outcome: string): string {
  if (outcome === "pass" || outcome === "violation" || outcome === "open") return outcome;
  return outcome === "cancelled" || outcome === "skipped" ? "quiet" : "unknown";
}

export function spanText(span: Span | undefined): string {
  return span ? `${span[0]}–${span[1]}` : "";
}
