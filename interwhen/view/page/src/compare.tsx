// Two runs side by side, aligned on the lines that they share.

import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { timeParts, tokenParts, why } from "./account";
import { shared } from "./diff";
import { count, duration, oneLine, seconds } from "./format";
import { layOut, LINE, type Rows } from "./layout";
import type { Run } from "./model";
import { Badge, Bar } from "./parts";
import { Tools } from "./runpage";
import { link, load } from "./state";
import { buildRow, ROW, type Scene } from "./text";

const both = signal<[Run, Run] | null>(null);
const trouble = signal("");

/** The rows of both sides in one order: -1 where a side has nothing. */
interface Aligned {
  scenes: [Scene, Scene];
  left: Int32Array;
  right: Int32Array;
  /** Whether the two lines differ. */
  other: Uint8Array;
  first: number;
}

function sceneOf(run: Run, width: number): Scene {
  const cuts = run.data.cuts?.length ?? 0;
  const rows = layOut(run, cuts, run.text.length, width, new Set(), true);
  return { run, rows, at: run.end, tape: run.text.length, cuts, proven: run.onTape(run.proven(run.end), run.end), shown: run.text.length, selected: -1, standing: [] };
}

/** For each line of the trace, its first row and the row after its last one. */
function linesOf(rows: Rows): number[] {
  const begins: number[] = [];
  for (let i = 0; i < rows.count; i++) if (rows.kind[i] === LINE && rows.line[i]) begins.push(i);
  return begins;
}

export function align(runs: [Run, Run], width: number): Aligned {
  const scenes: [Scene, Scene] = [sceneOf(runs[0], width), sceneOf(runs[1], width)];
  const texts = runs.map((run) => run.finalText().split("\n"));
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
  return { scenes, left: Int32Array.from(left), right: Int32Array.from(right), other: Uint8Array.from(other), first };
}

function Both({ runs }: { runs: [Run, Run] }) {
  const scroller = useRef<HTMLElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const made = useRef(new Map<number, HTMLElement>());
  const aligned = useRef<Aligned | null>(null);
  const [width, setWidth] = useState(0);

  const paint = () => {
    const found = aligned.current;
    const view = scroller.current;
    if (!found || !view) return;
    const from = Math.max(0, Math.floor(view.scrollTop / ROW) - 8);
    const to = Math.min(found.left.length, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + 8);
    for (const [index, row] of made.current) {
      if (index >= from && index < to) continue;
      row.remove();
      made.current.delete(index);
    }
    for (let index = from; index < to; index++) {
      if (made.current.has(index)) continue;
      const pair = document.createElement("div");
      pair.className = `pair${found.other[index] ? " other" : ""}`;
      pair.style.transform = `translateY(${index * ROW}px)`;
      for (const [side, row] of [
        [0, found.left[index]],
        [1, found.right[index]],
      ] as const) {
        const half = document.createElement("div");
        half.className = row < 0 ? "half none" : "half";
        if (row >= 0) half.append(buildRow(found.scenes[side], row));
        pair.append(half);
      }
      made.current.set(index, pair);
      box.current!.append(pair);
    }
  };

  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => {
      const room = (scroller.current!.clientWidth - 2) / 2 - 96;
      setWidth(Math.max(16, Math.floor(room / 7.83)));
      paint();
    });
    seen.observe(scroller.current!);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!width) return;
    aligned.current = align(runs, width);
    made.current.clear();
    box.current!.textContent = "";
    box.current!.style.height = `${aligned.current.left.length * ROW}px`;
    const first = aligned.current.first;
    if (first > 0) scroller.current!.scrollTop = Math.max(0, (first - 4) * ROW);
    paint();
  }, [runs, width]);

  return (
    <main class="text both" ref={scroller} tabIndex={0} aria-label="Both texts, aligned on the lines they share" onScroll={paint}>
      <div class="rows" ref={box} />
    </main>
  );
}

function Side({ run, id }: { run: Run; id: string }) {
  const because = why(run);
  return (
    <section class="summary" aria-label={run.data.path}>
      <h2>
        <a href={link("run", id)}>{oneLine((run.data.path ?? id).split("/").pop() ?? id, 60)}</a> <Badge status={run.data.status} label={run.data.label} />
      </h2>
      <p class="dim">
        {oneLine(run.data.model ?? "", 40)} · {(run.data.monitors ?? []).map((monitor) => oneLine(monitor.name, 30)).join(", ") || "no monitors"} · {count(run.checks.length)} checks ·{" "}
        {count(run.violations.length)} violations · {duration(run.end)}
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
    Promise.all(ids.map(load)).then(
      (found) => (both.value = found as [Run, Run]),
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
        <h1>Two runs</h1>
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
          <Both runs={found} />
        </>
      )}
    </div>
  );
}
