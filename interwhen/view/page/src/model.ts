// A run as the page needs it: the columns of the compact form in typed arrays, and what can be asked of them.
//
// The tape holds every character that was ever written, once and in order. What a cut took back stays on the tape. So the
// text at any moment is the tape up to there, without the parts that earlier cuts took back.
//
// A moment is a number in the order of the run (see data.ts), and Infinity is the end. Times are only for the axis: when a
// clock stands still, a cut has the time of the check that led to it.

import type { CheckTimes, RunData, Span } from "./data";
import { ACTS } from "./format";

export interface Dead {
  /** The part of the tape that a cut took back. */
  a: number;
  b: number;
  /** The index of the cut. */
  cut: number;
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
  /** How many cuts had been made when the check was ordered: it judged nothing that they took back. */
  cuts: number;
}

/** Where the tape changes its author or its phase. */
export interface Seam {
  at: number;
  origin: number;
  reasoning: number;
}

export class Steps {
  constructor(
    readonly number: ArrayLike<number>,
    readonly at: Float64Array,
    readonly to: Float64Array,
  ) {}

  /** The value at the moment `n`; `otherwise` before the first step. */
  value(n: number, otherwise = 0): number {
    const i = after(this.number, n) - 1;
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
  /** For each entry: its number, its end on the tape, its time, the length of the trace after it. */
  readonly number: Float64Array;
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
  readonly cutNumber: Float64Array;
  readonly frontier: Steps;
  readonly shown: Steps | null;
  /** The moments of what is no entry, in order, and when each was. Like `at`, for the axis: this clock never runs back. */
  readonly others: Float64Array;
  private readonly clock: Float64Array;
  readonly end: number;
  readonly checks: CheckTimes[];
  /** The checks with a place on the tape, by the start of that place. */
  readonly marks: CheckMark[];
  private readonly markEnds: Float64Array;
  readonly violations: number[];
  readonly over: boolean;

  constructor(readonly data: RunData) {
    const chars = data.chars ?? [];
    const gaps = data.gaps ?? [];
    const n = (this.count = chars.length);
    this.text = data.text ?? "";
    // With surrogates, a border of a piece may fall between two halves.
    this.acts = ACTS.test(this.text) || /[\ud800-\udfff]/.test(this.text);
    this.number = new Float64Array(n);
    this.tapeEnd = new Float64Array(n);
    this.at = new Float64Array(n);
    this.length = new Float64Array(n);
    this.weight = new Map(data.weights ?? []);
    const cuts = data.cuts ?? [];
    this.cutNumber = Float64Array.from(cuts, (cut) => cut.number);
    this.dead = [];
    const standing: Standing[] = [];
    let tape = 0;
    let time = 0;
    let latest = 0;
    let trace = 0;
    let style = 0;
    let next = 0;
    let number = 0;
    let listed = 0;
    const numbers = data.numbers ?? [];
    const styles = data.styles ?? [];
    for (let i = 0; i <= n; i++) {
      number = numbers[listed]?.[0] === i ? numbers[listed++][1] : number + 1;
      while (next < cuts.length && (cuts[next].number <= number || i === n)) {
        this.kill(standing, cuts[next].to, next);
        trace = Math.min(trace, cuts[next].to);
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
      this.number[i] = number;
      this.tapeEnd[i] = tape;
      this.at[i] = latest = Math.max(latest, time);
      this.length[i] = trace;
    }
    this.dead.sort((x, y) => x.a - y.a);
    this.frontier = this.cutBack(steps(data.frontier));
    this.shown = data.shown ? steps(data.shown) : null;
    this.checks = data.checks ?? [];
    this.over = data.status !== undefined;
    [this.others, this.clock] = this.timed();
    this.end = Math.max(data.end ?? 0, this.time(Infinity), 1);
    this.marks = [];
    this.violations = [];
    this.checks.forEach((check, index) => {
      if (!check) return;
      const place = this.place(check);
      if (place) this.marks.push({ index, a: place[0], b: Math.max(place[1], place[0] + 1), cuts: this.cuts(this.ordered(check)) });
      if (check.outcome === "violation") this.violations.push(index);
    });
    this.marks.sort((x, y) => x.a - y.a || x.b - y.b);
    this.markEnds = new Float64Array(this.marks.length);
    let most = 0;
    this.marks.forEach((mark, i) => (this.markEnds[i] = most = Math.max(most, mark.b)));
  }

  /** The moments of what is no entry, and when each was. */
  private timed(): [Float64Array, Float64Array] {
    const times = new Map<number, number>();
    (this.data.cuts ?? []).forEach((cut, i) => times.set(this.cutNumber[i], cut.at));
    for (const steps of [this.frontier, this.shown]) steps?.to.forEach((_, i) => times.set(steps.number[i], steps.at[i]));
    for (const check of this.checks) {
      if (check) times.set(this.ordered(check), check.ordered ?? 0).set(this.settled(check), check.ended ?? check.ordered ?? 0);
    }
    const moments = Float64Array.from(times.keys()).sort();
    let latest = 0;
    return [moments, moments.map((n) => (latest = Math.max(latest, times.get(n)!)))];
  }

  /** The steps of the frontier, and those with which a cut took it back. */
  private cutBack(steps: Steps): Steps {
    const numbers: number[] = [];
    const at: number[] = [];
    const to: number[] = [];
    const push = (number: number, time: number, value: number) => {
      numbers.push(number);
      at.push(time);
      to.push(value);
    };
    let i = 0;
    const until = (number: number) => {
      for (; i < steps.to.length && steps.number[i] < number; i++) push(steps.number[i], steps.at[i], steps.to[i]);
    };
    (this.data.cuts ?? []).forEach((cut, index) => {
      until(this.cutNumber[index]);
      if (cut.to < (to[to.length - 1] ?? 0)) push(this.cutNumber[index], cut.at, cut.to);
    });
    until(Infinity);
    return new Steps(numbers, Float64Array.from(at), Float64Array.from(to));
  }

  private kill(standing: Standing[], to: number, cut: number): void {
    while (standing.length) {
      const last = standing[standing.length - 1];
      if (last.s >= to) {
        if (last.b > last.a) this.dead.push({ a: last.a, b: last.b, cut });
        standing.pop();
        continue;
      }
      const keep = last.a + to - last.s;
      if (keep < last.b) {
        this.dead.push({ a: keep, b: last.b, cut });
        last.b = keep;
      }
      break;
    }
  }

  /** The moment for the time `t` of the axis: just before the first one that is later. */
  moment(t: number): number {
    return Math.min(this.number[after(this.at, t)] ?? Infinity, this.others[after(this.clock, t)] ?? Infinity) - 0.5;
  }

  /** Where the moment `n` is on the axis. */
  time(n: number): number {
    return Math.max(this.at[after(this.number, n) - 1] ?? 0, this.clock[after(this.others, n) - 1] ?? 0);
  }

  /** How many entries had been written at the moment `n`. */
  entries(n: number): number {
    return after(this.number, n);
  }

  /** The length of the tape at the moment `n`. */
  tape(n: number): number {
    return this.tapeEnd[this.entries(n) - 1] ?? 0;
  }

  /** How many cuts had been made at the moment `n`. */
  cuts(n: number): number {
    return after(this.cutNumber, n);
  }

  /** The parts of the tape that stood at the moment `n`, in order. */
  standing(n: number): Standing[] {
    const end = this.tape(n);
    const cuts = this.cuts(n);
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
      if (dead.cut >= cuts) continue;
      add(Math.min(dead.a, end));
      a = Math.max(a, dead.b);
    }
    add(end);
    return found;
  }

  /** The place on the tape of the offset `to` of the trace at the moment `n`. */
  onTape(to: number, n: number): number {
    const end = this.tape(n);
    const cuts = this.cuts(n);
    let at = to;
    for (const dead of this.dead) {
      if (dead.a > at) break;
      if (dead.cut < cuts) at += dead.b - dead.a;
    }
    return Math.min(at, end);
  }

  /** The length of the trace at the moment `n`. */
  written(n: number): number {
    const last = this.entries(n) - 1;
    let length = this.length[last] ?? 0;
    // A cut after the last entry has nothing written behind it yet.
    const cuts = this.data.cuts ?? [];
    for (let i = this.cuts(n) - 1; i >= 0 && cuts[i].number > (this.number[last] ?? 0); i--) length = Math.min(length, cuts[i].to);
    return length;
  }

  /** How much of the trace the reader had been sent at the moment `n`. A step to -1 says that he has all of it again. */
  sent(n: number): number {
    const to = this.shown ? this.shown.value(n, -1) : -1;
    return to < 0 ? this.written(n) : Math.min(to, this.written(n));
  }

  /** The times at which something reached the reader. */
  readerTimes(): Float64Array {
    const steps = this.shown;
    if (!steps) return this.at;
    const times: number[] = [];
    let i = 0;
    let free = true;
    for (let step = 0; step <= steps.at.length; step++) {
      const until = step < steps.at.length ? steps.number[step] : Infinity;
      for (; i < this.count && this.number[i] < until; i++) if (free) times.push(this.at[i]);
      if (step === steps.at.length) break;
      times.push(steps.at[step]);
      free = steps.to[step] < 0;
    }
    return Float64Array.from(times);
  }

  /** The frontier at the moment `n`. */
  proven(n: number): number {
    // A monitor that only observes a recorded text has no frontier.
    if (this.data.rechecked !== undefined) return this.written(n);
    return Math.min(this.frontier.value(n), this.written(n));
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

  /** The moment at which a check was ordered. */
  ordered(check: CheckTimes): number {
    return check.number;
  }

  /** The moment at which a check ended; that at which it was ordered if it is open. */
  settled(check: CheckTimes): number {
    return check.settled ?? check.number;
  }

  /** The outcome of a check as it was known at the moment `n`; null: the check had not been ordered. */
  outcome(check: CheckTimes, n: number): string | null {
    if (this.ordered(check) > n) return null;
    return this.settled(check) > n ? "open" : (check.outcome ?? "open");
  }

  /** The place of a check on the tape: that of its span, as the trace was when it was ordered. */
  place(check: CheckTimes): Span | undefined {
    const { span } = check;
    if (!span) return undefined;
    const n = this.ordered(check);
    const a = this.onTape(span[0], n);
    return [a, span[1] > span[0] ? this.onTape(span[1] - 1, n) + 1 : a];
  }

  /** The text that a check judged: what stood at its place when it was ordered. */
  judged(check: CheckTimes): string {
    const place = this.place(check);
    return place ? this.slice(place[0], place[1], this.ordered(check)) : "";
  }

  /** The text of the tape in [a, b) that stood at the moment `n`. */
  slice(a: number, b: number, n: number): string {
    const cuts = this.cuts(n);
    let found = "";
    let from = a;
    for (const dead of this.dead) {
      if (dead.a >= b) break;
      if (dead.cut >= cuts || dead.b <= from) continue;
      found += this.text.slice(from, Math.max(from, dead.a));
      from = dead.b;
    }
    return found + this.text.slice(from, Math.max(from, b));
  }

  /** The text that stood at the moment `n`. */
  textAt(n: number): string {
    return this.standing(n).map((part) => this.text.slice(part.a, part.b)).join("");
  }

  /** The moment at which the character of the tape before `to` was written. */
  writtenAt(to: number): number {
    return this.number[Math.min(after(this.tapeEnd, to - 1), this.count - 1)] ?? 0;
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

/** The check as one line for `interwhen verifiers try`: the text up to its claim, and what should have been said. */
export function labelledCase(run: Run, check: CheckTimes, contested: boolean): string {
  const [a, b] = run.place(check) ?? [0, 0];
  // Code points, because the reader of the line counts them.
  const text = run.textAt(run.ordered(check));
  const span = check.span ?? [0, 0];
  const wrongText = check.outcome === "violation" ? !contested : contested;
  const points = (offset: number) => Array.from(text.slice(0, offset)).length;
  const label = wrongText ? "wrong" : "right";
  const end = Math.max(span[1], Math.min(text.length, check.segment?.[1] ?? span[1]));
  const row: Record<string, unknown> = {
    name: `${run.data.path ?? "run"}:${a}-${b}`,
    turns: [{ prompt: run.data.prompt ?? "", text: text.slice(0, end) }],
    label,
  };
  if (label === "wrong") row.mistake = { turn: 0, span: { start: points(span[0]), end: points(span[1]) } };
  return JSON.stringify(row);
}

/** The steps in order. One without an offset says that the reader has all of the trace. */
function steps(raw: readonly { number: number; at: number; to?: number }[] = []): Steps {
  return new Steps(raw.map((step) => step.number), Float64Array.from(raw, (step) => step.at), Float64Array.from(raw, (step) => step.to ?? -1));
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
