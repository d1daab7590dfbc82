// Two runs side by side, aligned on the lines that they share.

import { batch, signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { timeParts, tokenParts, why } from "./account";
import { shared } from "./diff";
import { count, duration, oneLine, plural, seconds } from "./format";
import { drawPair, GUTTER, type LanePicture, PAIR, RIGHT, STRIP, stripTop } from "./lanes";
import { layOut, LINE, rowOf, type Rows } from "./layout";
import { kind, type Run, SIGNS, WORDS, worse } from "./model";
import { Badge, Bar } from "./parts";
import { Tools } from "./runpage";
import { type Cursor, halves, isDark, link, load } from "./state";
import { element, LineWindow, ROW, RowElement, type Scene } from "./text";

const both = signal<[Run, Run] | null>(null);
const trouble = signal("");

/** The rows of both sides in one order: -1 where a side has nothing. */
interface Aligned {
  scenes: [Scene, Scene];
  left: Int32Array;
  right: Int32Array;
  /** 1: the two lines differ; VERDICT: they are the same, and the checks say different things of them. */
  other: Uint8Array;
  /** The first row of both that differs. */
  first: number;
}

const VERDICT = 2;

function sceneOf(run: Run, width: number): Scene {
  const cuts = run.data.cuts?.length ?? 0;
  const rows = layOut(run, cuts, run.text.length, width, new Set(), true);
  return { run, rows, moment: Infinity, tape: run.text.length, cuts, proven: run.onTape(run.proven(Infinity), Infinity), shown: run.text.length, selected: -1 };
}

/** For each line of the trace, its first row and the row after its last one. */
function linesOf(rows: Rows): number[] {
  const begins: number[] = [];
  for (let i = 0; i < rows.count; i++) if (rows.kind[i] === LINE && rows.line[i]) begins.push(i);
  return begins;
}

export function align(runs: [Run, Run], width: number): Aligned {
  const scenes: [Scene, Scene] = [sceneOf(runs[0], width), sceneOf(runs[1], width)];
  const texts = runs.map((run) => run.textAt(Infinity).split("\n"));
  const begins = scenes.map((scene) => linesOf(scene.rows));
  const pairs = shared(texts[0], texts[1]);
  const left: number[] = [];
  const right: number[] = [];
  const other: number[] = [];
  let first = -1;
  const block = (a: [number, number], b: [number, number], differs: boolean) => {
    const tall = Math.max(a[1] - a[0], b[1] - b[0]);
    if (differs && tall && first < 0) first = left.length;
    for (let i = 0; i < tall; i++) {
      left.push(a[0] + i < a[1] ? a[0] + i : -1);
      right.push(b[0] + i < b[1] ? b[0] + i : -1);
      other.push(differs ? 1 : 0);
    }
  };
  const at = (side: 0 | 1, line: number) => (line < begins[side].length ? begins[side][line] : scenes[side].rows.count);
  let i = 0;
  let j = 0;
  for (const [x, y] of [...pairs, [texts[0].length, texts[1].length] as [number, number]]) {
    block([at(0, i), at(0, x)], [at(1, j), at(1, y)], true);
    if (x < texts[0].length) block([at(0, x), at(0, x + 1)], [at(1, y), at(1, y + 1)], false);
    i = x + 1;
    j = y + 1;
  }
  const found = { scenes, left: Int32Array.from(left), right: Int32Array.from(right), other: Uint8Array.from(other), first };
  // Only monitors on one record judge the same text. Other runs have different checks wherever one has no monitors.
  if (runs[0].text === runs[1].text && (runs[0].data.rechecked ?? runs[1].data.rechecked) !== undefined) {
    for (let index = 0; index < found.left.length; index++) {
      if (found.other[index]) continue;
      const words = [checkOn(scenes[0], found.left[index]), checkOn(scenes[1], found.right[index])].map((check, side) => (check < 0 ? "" : (runs[side].checks[check].outcome ?? "open")));
      // A line that only one of them reads is no contradiction, unless it refutes something there.
      const differ = words[0] !== words[1] && (words.includes("violation") || (words[0] && words[1]));
      if (!differ) continue;
      found.other[index] = VERDICT;
      if (found.first < 0) found.first = index;
    }
  }
  return found;
}

// One cursor for both halves. It is a moment; where the runs had different ones, it can also be a place in their text:
// each half then stands where it had written the shared lines up to there.

/** The side on which the cursor was set, and where it is there; null: the end of both. */
const cursor = signal<(Cursor & { side: 0 | 1 }) | null>(null);
const byText = signal(false);
/** The chosen row of the aligned texts. */
const chosen = signal(-1);

/** The moment at which the other half had written what this half had written at the moment `n`. */
function momentAtSameText(found: Aligned, side: 0 | 1, n: number): number {
  const [here, there] = side ? [found.scenes[1], found.scenes[0]] : [found.scenes[0], found.scenes[1]];
  const tape = here.run.tape(n);
  if (!tape) return 0;
  const [mine, theirs] = side ? [found.right, found.left] : [found.left, found.right];
  const row = rowOf(here.rows, tape - 1);
  let index = mine.indexOf(row);
  // The two halves share lines; within a part that differs, the other half has its own rows at the same height.
  while (index >= 0 && theirs[index] < 0) index--;
  return index < 0 ? 0 : there.run.writtenAt(there.rows.end[theirs[index]]);
}

/** Where the cursor is in each half. */
function cursorsOf(found: Aligned): [Cursor, Cursor] {
  const set = cursor.value;
  const runs = found.scenes.map((scene) => scene.run);
  const cursors = runs.map((run, side): Cursor => {
    if (set === null) return { moment: Infinity, at: run.end };
    const other = runs[1 - side];
    let moment = set.moment;
    // Two halves of one record have the same moments.
    if (side !== set.side && (run.data.path !== other.data.path || run.text !== other.text)) {
      moment = byText.value ? momentAtSameText(found, set.side, set.moment) : run.moment(set.at);
    }
    return { moment, at: Math.min(run.end, byText.value && side !== set.side ? run.time(moment) : set.at) };
  });
  return [cursors[0], cursors[1]];
}

function setMoment(scene: Scene, moment: number): void {
  const { run } = scene;
  scene.moment = moment;
  scene.tape = run.tape(moment);
  scene.cuts = run.cuts(moment);
  scene.proven = run.onTape(run.proven(moment), moment);
  scene.shown = run.shown ? run.onTape(run.sent(moment), moment) : scene.tape;
}

/** Put the cursor at the time `t` of the axis of a side. */
function scrub(side: 0 | 1, t: number, runs: [Run, Run]): void {
  const end = byText.value ? runs[side].end : Math.max(runs[0].end, runs[1].end);
  const at = Math.max(0, t);
  cursor.value = at >= end ? null : { side, at, moment: runs[side].moment(at) };
}

/** The worst check on a row, by its index in the run; -1: there is none. */
function checkOn(scene: Scene, row: number): number {
  if (row < 0) return -1;
  const { run, rows } = scene;
  let worst: string | null = null;
  let found = -1;
  for (const mark of run.touchingMarks(rows.start[row], Math.max(rows.end[row], rows.start[row] + 1))) {
    const outcome = run.outcome(run.checks[mark.index], scene.moment);
    if (outcome === null || worse(worst, outcome) === worst) continue;
    worst = worse(worst, outcome);
    found = mark.index;
  }
  return found;
}

/** The first rows of the parts that differ, and the rows with a violation. */
function stopsOf(found: Aligned): number[] {
  const stops: number[] = [];
  for (let index = 0; index < found.left.length; index++) {
    const begins = found.other[index] === 1 && (index === 0 || found.other[index - 1] !== 1);
    const refuted = ([0, 1] as const).some((side) => {
      const check = checkOn(found.scenes[side], (side ? found.right : found.left)[index]);
      return check >= 0 && found.scenes[side].run.checks[check].outcome === "violation";
    });
    if (begins || refuted || found.other[index] === VERDICT) stops.push(index);
  }
  return stops;
}

/** The element of two rows side by side. It shows one pair after the other. */
class PairElement {
  readonly element = element("div", "pair");
  private readonly halves = [element("div", "half"), element("div", "half")];
  private readonly rows = [new RowElement(), new RowElement()];

  constructor(private readonly aligned: () => Aligned) {
    this.element.append(...this.halves);
  }

  show(index: number): void {
    const found = this.aligned();
    const { element: pair, halves, rows } = this;
    dress(pair, `pair${found.other[index] === 1 ? " other" : found.other[index] === VERDICT ? " judged" : ""}${index === chosen.value ? " chosen" : ""}`);
    pair.dataset.pair = String(index);
    for (let side = 0; side < 2; side++) {
      const row = (side ? found.right : found.left)[index];
      const scene = found.scenes[side];
      const later = row >= 0 && scene.rows.start[row] >= scene.tape;
      dress(halves[side], row < 0 ? "half none" : later ? "half later" : "half");
      if (row < 0 || later) rows[side].element.remove();
      else {
        rows[side].show(scene, row);
        if (!rows[side].element.parentNode) halves[side].append(rows[side].element);
      }
    }
  }
}

function dress(half: HTMLElement, name: string): void {
  if (half.className !== name) half.className = name;
}

function Both({ found, box: scroller, onPaint }: { found: Aligned; box: { current: HTMLElement | null }; onPaint: (paint: () => void) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const shown = useRef(found);
  shown.current = found;
  const pairs = useRef<LineWindow<PairElement> | null>(null);
  const paint = () => pairs.current?.paint();

  useLayoutEffect(() => {
    pairs.current = new LineWindow(box.current!, scroller.current!, () => new PairElement(() => shown.current));
    const seen = new ResizeObserver(paint);
    seen.observe(scroller.current!);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    const again = () => pairs.current!.show(found.left.length);
    box.current!.style.height = `${found.left.length * ROW}px`;
    if (found.first > 0) scroller.current!.scrollTop = Math.max(0, (found.first - 4) * ROW);
    again();
    onPaint(again);
  }, [found]);

  return (
    <main
      class="text both"
      ref={(view) => {
        scroller.current = view;
      }}
      tabIndex={0}
      aria-label="Both texts, aligned on the lines they share"
      onScroll={paint}
      onClick={(event) => {
        const index = (event.target as HTMLElement).closest<HTMLElement>("[data-pair]")?.dataset.pair;
        if (index !== undefined) chosen.value = Number(index);
      }}
    >
      <div class="rows" ref={box} />
    </main>
  );
}

/** The two runs on one axis of time, with the cursor that moves both texts. */
function Times({ found, cursors, picked, width }: { found: Aligned; cursors: [Cursor, Cursor]; picked: [number, number]; width: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const pictures = useRef<[LanePicture, LanePicture] | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const drag = useRef<0 | 1 | -1>(-1);
  const runs: [Run, Run] = [found.scenes[0].run, found.scenes[1].run];
  const end = Math.max(runs[0].end, runs[1].end);
  useLayoutEffect(() => {
    if (width) pictures.current = drawPair(canvas.current!, runs, width, picked);
  }, [found, width, isDark.value, picked[0], picked[1]]);
  const x = (t: number) => GUTTER + (Math.max(0, width - GUTTER - RIGHT) * t) / end;
  const move = (event: PointerEvent) => {
    const shown = pictures.current;
    if (!shown || drag.current < 0) return;
    const side = drag.current as 0 | 1;
    scrub(side, shown[side].time(event.clientX - box.current!.getBoundingClientRect().left), runs);
  };
  const lead = cursor.value?.side ?? 0;
  const at = cursor.value === null ? end : cursors[lead].at;
  const says = ([0, 1] as const).map((side) => `${duration(cursors[side].at)}, ${count(runs[side].written(cursors[side].moment))} characters`);
  return (
    <section class="times" aria-label="Both runs over time" ref={box} style={{ height: `${PAIR + 1}px` }}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="slider"
        aria-label="Time"
        aria-valuemin={0}
        aria-valuemax={Math.round(end / 10) / 100}
        aria-valuenow={Math.round(at / 10) / 100}
        aria-valuetext={`left ${says[0]}; right ${says[1]}`}
        onPointerDown={(event) => {
          drag.current = event.clientY - box.current!.getBoundingClientRect().top < stripTop(1) ? 0 : 1;
          event.currentTarget.setPointerCapture(event.pointerId);
          move(event);
        }}
        onPointerMove={move}
        onPointerUp={() => (drag.current = -1)}
        onPointerCancel={() => (drag.current = -1)}
      />
      {([0, 1] as const).map((side) => (
        <div key={side} class="cursor" style={{ transform: `translateX(${x(cursors[side].at)}px)`, top: `${stripTop(side)}px`, height: `${STRIP}px` }} aria-hidden="true">
          {cursor.value !== null && (byText.value || side === 0) && <span class={x(cursors[side].at) > width - 90 ? "left" : ""}>{duration(cursors[side].at)}</span>}
        </div>
      ))}
    </section>
  );
}

/** What each half says of the chosen row. */
function Judged({ found, index }: { found: Aligned; index: number }) {
  return (
    <section class="judged-row" aria-label="The checks on the chosen line" aria-live="polite">
      {([0, 1] as const).map((side) => {
        const scene = found.scenes[side];
        const at = index < 0 ? -1 : checkOn(scene, (side ? found.right : found.left)[index]);
        const check = at < 0 ? null : scene.run.checks[at];
        const outcome = check?.outcome ?? "open";
        return (
          <p key={side}>
            {check ? (
              <>
                <b class={kind(outcome)}>
                  {SIGNS[outcome] ?? "!"} {WORDS[outcome] ?? outcome}
                </b>{" "}
                {oneLine(scene.run.monitor(check.monitor), 40)} <span class="dim">{oneLine(check.witness || check.why || "", 200)}</span>
              </>
            ) : (
              <span class="dim">{index < 0 ? "Choose a line to see its checks; n goes to the next difference." : "No check on this line."}</span>
            )}
          </p>
        );
      })}
    </section>
  );
}

/** What the keys do while two runs are shown; made by the page. */
let keys: Record<string, (shift: boolean) => void> = {};
export const compareKey = (key: string): ((shift: boolean) => void) | undefined => keys[key];

function Pair({ runs }: { runs: [Run, Run] }) {
  const scroller = useRef<HTMLElement | null>(null);
  const outer = useRef<HTMLDivElement>(null);
  const again = useRef<() => void>(() => {});
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(outer.current!.clientWidth);
    const seen = new ResizeObserver(measure);
    seen.observe(outer.current!);
    measure();
    return () => seen.disconnect();
  }, []);
  const columns = Math.max(16, Math.floor(((width - 18) / 2 - 96) / 7.83));
  const found = useMemo(() => (width ? align(runs, columns) : null), [runs, width ? columns : 0]);
  const stops = useMemo(() => (found ? stopsOf(found) : []), [found]);
  const cursors = found && cursorsOf(found);

  useLayoutEffect(() => {
    if (!found || !cursors) return;
    found.scenes.forEach((scene, side) => setMoment(scene, cursors[side].moment));
    again.current();
    const at = cursor.value;
    if (at === null) return;
    const scene = found.scenes[at.side];
    const row = rowOf(scene.rows, Math.max(0, scene.tape - 1));
    reveal(Math.max(0, (at.side ? found.right : found.left).indexOf(row)), false);
  }, [found, cursors?.[0].moment, cursors?.[1].moment]);
  useLayoutEffect(() => again.current(), [chosen.value]);

  const reveal = (index: number, centre: boolean) => {
    const view = scroller.current!;
    const top = index * ROW;
    if (top >= view.scrollTop + ROW && top <= view.scrollTop + view.clientHeight - 3 * ROW) return;
    view.scrollTop = centre ? top - view.clientHeight / 2 : top - view.clientHeight + 4 * ROW;
  };
  const choose = (index: number) => {
    chosen.value = index;
    cursor.value = null;
    reveal(index, true);
  };
  const by = (share: number, entries: number) => (shift: boolean) => {
    const side = cursor.value?.side ?? (runs[1].end > runs[0].end ? 1 : 0);
    const run = runs[side];
    if (!shift) return scrub(side, (cursor.value?.at ?? run.end) + share * Math.max(runs[0].end, runs[1].end), runs);
    const entry = Math.max(0, Math.min(run.count - 1, run.entries(cursor.value?.moment ?? Infinity) - 1 + entries));
    const moment = run.number[entry] ?? 0;
    cursor.value = { side, at: run.time(moment), moment };
  };
  const next = () => stops.find((stop) => stop > chosen.value) ?? stops[0];
  const before = () => stops.findLast((stop) => stop < chosen.value) ?? stops[stops.length - 1];
  const made: typeof keys = {
    n: () => stops.length && choose(next()),
    p: () => stops.length && choose(before()),
    ArrowRight: by(0.01, 1),
    ArrowLeft: by(-0.01, -1),
    Home: () => (cursor.value = { side: 0, at: 0, moment: 0 }),
    End: () => (cursor.value = null),
    t: () => (byText.value = !byText.value),
  };
  // In an effect, because the page before this one takes its keys away only after this one was made.
  useLayoutEffect(() => {
    keys = made;
    return () => {
      if (keys === made) keys = {};
    };
  });

  const picked: [number, number] = [-1, -1];
  if (found && chosen.value >= 0) {
    picked[0] = checkOn(found.scenes[0], found.left[chosen.value]);
    picked[1] = checkOn(found.scenes[1], found.right[chosen.value]);
  }
  return (
    <div class="compared" ref={outer}>
      {found && (
        <>
          <div class="steps">
            <span class="group">
              <button aria-label="Previous difference" title="Previous difference (p)" disabled={!stops.length} onClick={() => choose(before())}>
                ‹
              </button>
              <span class="what">{stops.length ? `${stops.indexOf(chosen.value) + 1 || "–"} / ${plural(stops.length, "place")} to look at` : "nothing differs"}</span>
              <button aria-label="Next difference" title="Next difference (n)" disabled={!stops.length} onClick={() => choose(next())}>
                ›
              </button>
            </span>
            <span class="grow" />
            <span class="group" role="group" aria-label="What the cursor is">
              <button aria-pressed={!byText.value} title="Both halves at one time (t)" onClick={() => (byText.value = false)}>
                same time
              </button>
              <button aria-pressed={byText.value} title="Both halves at one place of the text (t)" onClick={() => (byText.value = true)}>
                same text
              </button>
            </span>
          </div>
          <Times found={found} cursors={cursors!} picked={picked} width={width} />
          <Both found={found} box={scroller} onPaint={(paint) => (again.current = paint)} />
          <Judged found={found} index={chosen.value} />
        </>
      )}
    </div>
  );
}

function Side({ run, id }: { run: Run; id: string }) {
  const because = why(run);
  return (
    <section class="summary" aria-label={run.data.path}>
      <h2>
        <a href={link("run", id)}>{oneLine(run.title, 70)}</a> <Badge status={run.data.status} label={run.data.label} />
      </h2>
      <p class="dim">
        {oneLine(run.data.model ?? "", 40)} · {(run.data.monitors ?? []).map((monitor) => oneLine(monitor.name, 30)).join(", ") || "no monitors"} · {plural(run.checks.length, "check")} ·{" "}
        {plural(run.violations.length, "violation")} · {duration(run.end)}
      </p>
      <Bar label="tokens" parts={tokenParts(run)} />
      <Bar label="time" parts={timeParts(run)} />
      <p class="because" title={because}>
        {because ? oneLine(because, 140) : " "}
      </p>
    </section>
  );
}

function difference(runs: [Run, Run]): string {
  if (runs[0].text === runs[1].text && (runs[0].data.rechecked ?? runs[1].data.rechecked) !== undefined) {
    const [a, b] = runs.map((run) => plural(run.violations.length, "violation"));
    return `one recorded text: ${a} left, ${b} right`;
  }
  const sum = (parts: { value: number }[]) => parts.reduce((all, part) => all + part.value, 0);
  const tokens = sum(tokenParts(runs[1])) - sum(tokenParts(runs[0]));
  const time = sum(timeParts(runs[1])) - sum(timeParts(runs[0]));
  const signed = (n: number, text: string) => (n > 0 ? `+${text}` : text.startsWith("−") ? text : n < 0 ? `−${text}` : "±0");
  return `right against left: ${signed(tokens, count(Math.abs(tokens)))} tokens, ${signed(time, seconds(Math.abs(time)))}`;
}

export function ComparePage({ ids }: { ids: [string, string] }) {
  useEffect(() => {
    both.value = null;
    trouble.value = "";
    batch(() => {
      cursor.value = null;
      chosen.value = -1;
    });
    Promise.all(ids.map(load)).then(
      (found) => {
        const [left, right] = found as [Run, Run];
        batch(() => {
          // Runs of different lengths are compared by their text, until the reader chooses the time.
          byText.value = left.text !== right.text;
          both.value = [left, right];
        });
      },
      (error: Error) => (trouble.value = error.message),
    );
  }, [ids[0], ids[1]]);
  const found = both.value;
  return (
    <div class="page compare-page">
      <header class="top">
        <a class="back" href={link()}>
          ‹ runs
        </a>
        <h1>{halves(ids[0])[0] !== halves(ids[1])[0] ? "Two runs" : ids.every((id) => halves(id)[1] !== null) ? "One run, two monitors" : "One run, checked again"}</h1>
        <span class="fact" role="status">
          {found ? difference(found) : trouble.value || "loading"}
        </span>
        <span class="grow" />
        <a class="back" href={link("compare", ids[1], ids[0])}>
          ⇄ swap
        </a>
        <Tools />
      </header>
      {found && (
        <>
          <div class="summaries">
            <Side run={found[0]} id={ids[0]} />
            <Side run={found[1]} id={ids[1]} />
          </div>
          <Pair runs={found} />
        </>
      )}
    </div>
  );
}
