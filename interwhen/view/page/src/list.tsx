// The list of runs: filters, sorting, and the choice of two to compare.

import { computed, signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RunRow } from "./data";
import { bytes, count, date, oneLine, seconds } from "./format";
import { Badge } from "./parts";
import { Tools } from "./runpage";
import { config, failure, go, link, runs } from "./state";

type Column = "path" | "status" | "model" | "violations" | "remedies" | "tokens" | "discarded" | "seconds" | "written";

const words = signal("");
const filters = signal<{ status: string; scope: string; monitor: string; model: string; outcome: string; cost: string }>({
  status: "",
  scope: "",
  monitor: "",
  model: "",
  outcome: "",
  cost: "",
});
const sorted = signal<{ by: Column; down: boolean }>({ by: "written", down: true });
export const picked = signal<string[]>([]);

const statusOf = (row: RunRow): string => row.status ?? (row.error ? "failed" : "running");

const distinct = (values: (string | undefined)[]): string[] => [...new Set(values.filter((v): v is string => !!v))].sort();

const COSTS: Record<string, (row: RunRow) => boolean> = {
  "discarded tokens": (row) => (row.discarded ?? 0) > 0,
  "over 1,000 tokens": (row) => (row.tokens ?? 0) > 1000,
  "over 10 s": (row) => (row.seconds ?? 0) > 10,
};

const OUTCOMES: Record<string, (row: RunRow) => boolean> = {
  "with a violation": (row) => (row.violations ?? 0) > 0,
  "with a remedy": (row) => (row.remedies ?? 0) > 0,
  "without a violation": (row) => !row.violations,
};

export const shown = computed<RunRow[]>(() => {
  const f = filters.value;
  const text = words.value.trim().toLowerCase();
  const kept = runs.value.filter(
    (row) =>
      (!f.status || statusOf(row) === f.status) &&
      (!f.scope || row.scope === f.scope) &&
      (!f.monitor || (row.monitors ?? []).includes(f.monitor)) &&
      (!f.model || row.model === f.model) &&
      (!f.outcome || OUTCOMES[f.outcome](row)) &&
      (!f.cost || COSTS[f.cost](row)) &&
      (!text || `${row.path} ${row.model ?? ""} ${(row.found ?? []).join(" ")}`.toLowerCase().includes(text)),
  );
  const { by, down } = sorted.value;
  const key = (row: RunRow): string | number => (by === "status" ? statusOf(row) : (row[by] ?? (by === "path" || by === "model" ? "" : 0)));
  kept.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const order = typeof x === "string" ? x.localeCompare(String(y)) : x - (y as number);
    return (down ? -order : order) || a.path.localeCompare(b.path);
  });
  return kept;
});

function Choice({ label, name, options }: { label: string; name: keyof typeof filters.value; options: string[] }) {
  if (!options.length) return null;
  return (
    <label class="choice">
      <span>{label}</span>
      <select value={filters.value[name]} onChange={(event) => (filters.value = { ...filters.value, [name]: event.currentTarget.value })}>
        <option value="">any</option>
        {options.map((option) => (
          <option key={option} value={option}>
            {oneLine(option, 50)}
          </option>
        ))}
      </select>
    </label>
  );
}

const COLUMNS: [Column, string, boolean][] = [
  ["status", "status", false],
  ["path", "run", false],
  ["model", "model", false],
  ["violations", "violations", true],
  ["remedies", "cuts", true],
  ["tokens", "tokens", true],
  ["discarded", "discarded", true],
  ["seconds", "time", true],
  ["written", "written", false],
];

const ITEM = 36;

/** How many characters of all paths are the same folders. */
const common = computed<number>(() => {
  const [first, ...rest] = runs.value.map((row) => row.path);
  if (first === undefined) return 0;
  let length = first.lastIndexOf("/") + 1;
  for (const path of rest) while (length && !path.startsWith(first.slice(0, length))) length = length > 1 ? first.lastIndexOf("/", length - 2) + 1 : 0;
  return length;
});

export function ListPage() {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => setHeight(box.current?.clientHeight ?? 600));
    seen.observe(box.current!);
    return () => seen.disconnect();
  }, []);
  const all = shown.value;
  const from = Math.max(0, Math.floor(top / ITEM) - 4);
  const to = Math.min(all.length, Math.ceil((top + height) / ITEM) + 4);
  const toggle = (id: string) => {
    const rest = picked.value.filter((each) => each !== id);
    picked.value = rest.length < picked.value.length ? rest : [...rest.slice(-1), id];
  };
  return (
    <div class="page list-page">
      <header class="top">
        <h1>Runs</h1>
        <span class="fact" role="status">
          <b>{count(all.length)}</b> of {count(runs.value.length)}
        </span>
        <span class="grow" />
        <button class="main" disabled={picked.value.length !== 2} onClick={() => go("compare", ...picked.value)}>
          Compare {picked.value.length === 2 ? "the two" : `two (${picked.value.length} chosen)`}
        </button>
        <Tools />
      </header>
      <form class="filters" aria-label="Filter the runs" onSubmit={(event) => event.preventDefault()}>
        <input type="search" aria-label="Search the runs" placeholder="search name, model, finding" value={words.value} onInput={(event) => (words.value = event.currentTarget.value)} />
        <Choice label="status" name="status" options={distinct(runs.value.map(statusOf))} />
        <Choice label="scope" name="scope" options={distinct(runs.value.map((row) => row.scope))} />
        <Choice label="outcome" name="outcome" options={Object.keys(OUTCOMES)} />
        <Choice label="monitor" name="monitor" options={distinct(runs.value.flatMap((row) => row.monitors ?? []))} />
        <Choice label="model" name="model" options={distinct(runs.value.map((row) => row.model))} />
        <Choice label="cost" name="cost" options={Object.keys(COSTS)} />
      </form>
      <main class="table" ref={box} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        {failure.value && <p class="warn">{failure.value}</p>}
        <div role="table" aria-label="Runs" aria-rowcount={all.length + 1}>
          <div role="rowgroup" class="head">
            <div role="row" class="tr">
              <span role="columnheader" class="td pick">
                <span class="hidden">compare</span>
              </span>
              {COLUMNS.map(([by, title, right]) => (
                <span
                  key={by}
                  role="columnheader"
                  class={`td ${by}${right ? " right" : ""}`}
                  aria-sort={sorted.value.by === by ? (sorted.value.down ? "descending" : "ascending") : "none"}
                >
                  <button onClick={() => (sorted.value = { by, down: sorted.value.by === by ? !sorted.value.down : by !== "path" && by !== "model" })}>
                    {title}
                    <span aria-hidden="true">{sorted.value.by === by ? (sorted.value.down ? " ↓" : " ↑") : ""}</span>
                  </button>
                </span>
              ))}
            </div>
          </div>
          <div role="rowgroup" class="body" style={{ height: `${all.length * ITEM}px` }}>
            {all.slice(from, to).map((row, place) => (
              <div key={row.id} role="row" class="tr" aria-rowindex={from + place + 2} style={{ transform: `translateY(${(from + place) * ITEM}px)` }}>
                <span role="cell" class="td pick">
                  <input type="checkbox" aria-label={`Compare ${oneLine(row.path.slice(common.value), 60)}`} checked={picked.value.includes(row.id)} onChange={() => toggle(row.id)} />
                </span>
                <span role="cell" class="td status">
                  <Badge status={row.status ?? (row.error ? "failed" : undefined)} label={row.error ? "unreadable" : row.label} />
                </span>
                <span role="cell" class="td path">
                  {row.error ? (
                    <span title={row.error}>{oneLine(row.path.slice(common.value), 80)}</span>
                  ) : (
                    <a href={link("run", row.id)} title={row.path}>
                      {oneLine(row.path.slice(common.value), 80)}
                    </a>
                  )}
                  {row.found?.[0] && <span class="found">{oneLine(row.found[0], 90)}</span>}
                </span>
                <span role="cell" class="td model">{oneLine(row.model ?? "", 40)}</span>
                <span role="cell" class={`td violations right${row.violations ? " violation" : ""}`}>{row.violations ? count(row.violations) : "–"}</span>
                <span role="cell" class="td remedies right">{row.remedies ? count(row.remedies) : "–"}</span>
                <span role="cell" class="td tokens right">{row.tokens === undefined ? bytes(row.size) : count(row.tokens)}</span>
                <span role="cell" class="td discarded right">{row.discarded ? count(row.discarded) : "–"}</span>
                <span role="cell" class="td seconds right">{row.seconds === undefined ? "–" : seconds(row.seconds)}</span>
                <span role="cell" class="td written">{date(row.written)}</span>
              </div>
            ))}
          </div>
        </div>
        {!all.length && <p class="empty">{runs.value.length ? "No run passes these filters." : config.mode === "served" ? "No journal yet: interwhen run --journal FILE writes one, and a gateway with [journal] one for each call." : "This page holds no run."}</p>}
      </main>
    </div>
  );
}
