// What the page shows, as signals, and where its runs come from: blocks of JSON in the page, or the server of the page.

import { batch, computed, effect, signal } from "@preact/signals";
import { apply, type RunData, type RunRow } from "./data";
import { Run } from "./model";

export interface Config {
  mode: "file" | "served";
  version?: string;
  /** Whether the server can verify a check again. */
  verify?: boolean;
  /** The installed monitors, if the server checks with any of them. */
  monitors?: string[];
  /** What the page opens with. */
  start?: string;
}

function block<T>(id: string, otherwise: T): T {
  const found = document.getElementById(id)?.textContent?.trim();
  return found ? (JSON.parse(found) as T) : otherwise;
}

export const config: Config = block("config", { mode: "file" });
export const runs = signal<RunRow[]>(block("runs", []));
export const failure = signal("");
export const announced = signal("");

// The route: the part of the address after the #.

export type Route = { page: "list" } | { page: "run"; id: string } | { page: "compare"; ids: [string, string] };

function read(): Route {
  const [page, ...ids] = (location.hash || (config.start ?? "")).replace(/^#\/?/, "").split("/").map(decoded);
  if (page === "run" && ids[0]) return { page: "run", id: ids[0] };
  if (page === "compare" && ids[0] && ids[1]) return { page: "compare", ids: [ids[0], ids[1]] };
  if (config.mode === "file" && runs.value.length === 1) return { page: "run", id: runs.value[0].id };
  return { page: "list" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal<Route>(read());
addEventListener("hashchange", () => (route.value = read()));

export function link(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

export function go(...parts: string[]): void {
  const to = link(...parts);
  if (location.hash !== to) location.hash = to;
}

// Loading

const loaded = new Map<string, Run>();

export async function load(id: string): Promise<Run> {
  const known = loaded.get(id);
  if (known) return known;
  let data: RunData;
  if (config.mode === "file") {
    const found = document.getElementById(`run-${id}`)?.textContent;
    if (!found) throw new Error(`this page holds no run ${id}`);
    data = JSON.parse(found) as RunData;
  } else {
    const [recorded, monitor] = halves(id);
    const place = `runs/${encodeURIComponent(recorded)}`;
    const answer = monitor === null ? await fetch(`${place}/timeline`) : await command(`${place}/recheck`, { monitor });
    if (!answer.ok) throw new Error(await reason(answer));
    const found = (await answer.json()) as Record<string, unknown>;
    data = monitor === null ? apply({ version: 2 }, found) : (found as unknown as RunData);
  }
  const run = new Run(data);
  if (run.over || config.mode === "file") loaded.set(id, run);
  return run;
}

/** The run that an id names, and the monitor that checks its text again; null: the run as it was recorded. */
export function halves(id: string): [string, string | null] {
  const at = id.indexOf("@");
  return at < 0 ? [id, null] : [id.slice(0, at), id.slice(at + 1)];
}

/** Ask the server for work. */
export function command(place: string, body: unknown): Promise<Response> {
  return fetch(place, { method: "POST", headers: { "content-type": "application/json", "x-interwhen": "page" }, body: JSON.stringify(body) });
}

export async function reason(answer: Response): Promise<string> {
  try {
    const body = (await answer.json()) as { error?: { message?: string } };
    if (body.error?.message) return body.error.message;
  } catch {
    // The answer has no JSON; its status is all there is.
  }
  return `the server answered ${answer.status}`;
}

// One open run

export const run = signal<Run | null>(null);
export const name = signal("");
/** A moment in the order of the run (see model.ts), and where on the axis the cursor stands for it. */
export interface Cursor {
  moment: number;
  at: number;
}
/** null: the end, also while the run grows. */
export const cursor = signal<Cursor | null>(null);
export const selected = signal(-1);
export const only = signal<string | null>(null);
export const query = signal("");
export const fold = signal(true);
export const unfolded = signal<ReadonlySet<number>>(new Set());
export const tab = signal<"evidence" | "account" | "prompt" | "help">("evidence");
export const playing = signal(false);
export const connection = signal<"none" | "live" | "lost">("none");
/** Whether the text shows what the reader had, and not what was written. */
export const asReader = signal(false);

export const now = computed(() => cursor.value?.moment ?? Infinity);
export const axis = computed(() => cursor.value?.at ?? run.value?.end ?? 0);

let stream: EventSource | null = null;
let growing = 0;

export async function open(id: string): Promise<void> {
  close();
  failure.value = "";
  try {
    const found = await load(id);
    const current = route.value;
    if (current.page !== "run" || current.id !== id) return;
    batch(() => {
      run.value = found;
      name.value = id;
      cursor.value = null;
      only.value = null;
      query.value = "";
      unfolded.value = new Set();
      tab.value = found.checks.length ? "evidence" : "account";
      selected.value = -1;
      if (found.violations.length) select(found.violations[0]);
    });
    if (!found.over && config.mode === "served") follow(id, found.data);
  } catch (error) {
    run.value = null;
    failure.value = String((error as Error).message ?? error);
  }
}

export function close(): void {
  stream?.close();
  stream = null;
  clearTimeout(growing);
  growing = 0;
  connection.value = "none";
  playing.value = false;
}

/** Follow a run that is not over. The browser reconnects by itself, with the offset of the last part it got. */
function follow(id: string, data: RunData): void {
  const from = data.offset ?? 0;
  const source = (stream = new EventSource(`runs/${encodeURIComponent(id)}/live?from=${from}`));
  source.onopen = () => (connection.value = "live");
  source.onerror = () => (connection.value = source.readyState === EventSource.CLOSED ? "none" : "lost");
  source.addEventListener("part", (event) => {
    const part = JSON.parse((event as MessageEvent<string>).data) as Record<string, unknown>;
    const begin = (part.from as number) ?? 0;
    // A part from the start is the whole run, which began again: it was resumed after its end, or has another journal.
    if (!begin) for (const key of Object.keys(data)) delete data[key as keyof RunData];
    // A part that was sent twice, after a reconnection, is left out.
    else if (begin < (data.offset ?? 0)) return;
    apply(data, part);
    grow(data);
  });
  source.addEventListener("over", () => {
    source.close();
    connection.value = "none";
    grow(data);
  });
}

/** Show the grown run, soon: seldom enough to take a small share of the time. */
let last = 30;
function grow(data: RunData): void {
  if (growing) return;
  growing = window.setTimeout(
    () => {
      growing = 0;
      const began = performance.now();
      run.value = new Run(data);
      last = performance.now() - began;
    },
    Math.max(250, last * 25),
  );
}

// What a person says of verdicts

const STORE = "interwhen.wrong-verdicts";

function remembered(): Record<string, number[]> {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}") as Record<string, number[]>;
  } catch {
    return {}; // a sandboxed frame has no storage
  }
}

export const wrong = signal<Record<string, number[]>>(remembered());

effect(() => {
  try {
    localStorage.setItem(STORE, JSON.stringify(wrong.value));
  } catch {
    // Kept until the page is closed.
  }
});

export function isWrong(index: number): boolean {
  return (wrong.value[name.value] ?? []).includes(index);
}

export function markWrong(index: number): void {
  const mine = wrong.value[name.value] ?? [];
  const next = mine.includes(index) ? mine.filter((i) => i !== index) : [...mine, index];
  wrong.value = { ...wrong.value, [name.value]: next };
}

// The theme

const THEME = "interwhen.theme";
export type Theme = "auto" | "light" | "dark";

function wanted(): Theme {
  try {
    const found = localStorage.getItem(THEME);
    return found === "light" || found === "dark" ? found : "auto";
  } catch {
    return "auto";
  }
}

export const theme = signal<Theme>(wanted());
export const isDark = signal(false);

const media = matchMedia("(prefers-color-scheme: dark)");
effect(() => {
  const dark = theme.value === "dark" || (theme.value === "auto" && media.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  isDark.value = dark;
  try {
    localStorage.setItem(THEME, theme.value);
  } catch {
    // Kept until the page is closed.
  }
});
media.addEventListener("change", () => (theme.value = theme.value === "auto" ? wanted() : theme.value));

// Choosing

export function say(text: string): void {
  announced.value = text;
}

export function select(index: number): void {
  const found = run.value;
  if (!found || !found.checks[index]) return;
  const check = found.checks[index];
  batch(() => {
    selected.value = index;
    tab.value = "evidence";
    if (found.settled(check) > now.value) cursor.value = null;
    const [a, b] = found.place(check) ?? [0, 0];
    const lost = found.dead.flatMap((dead, part) => (dead.a < b && dead.b > a && !unfolded.value.has(part) ? [part] : []));
    if (lost.length) unfolded.value = new Set([...unfolded.value, ...lost]);
  });
}

/** The checks of the list: those that the filter and the words let through. */
export const listed = computed<number[]>(() => {
  const found = run.value;
  if (!found) return [];
  const words = query.value.trim().toLowerCase();
  const kept: number[] = [];
  found.checks.forEach((check, index) => {
    if (!check || (only.value && (check.outcome ?? "open") !== only.value)) return;
    if (words) {
      const text = `${check.key ?? ""} ${check.why ?? ""} ${found.monitor(check.monitor)}`.toLowerCase();
      if (!text.includes(words)) return;
    }
    kept.push(index);
  });
  return kept;
});

export function step(direction: 1 | -1): void {
  const all = run.value?.violations ?? [];
  if (!all.length) return say("there is no violation");
  const at = selected.value;
  const next = direction > 0 ? (all.find((i) => i > at) ?? all[0]) : (all.findLast((i) => i < at) ?? all[all.length - 1]);
  select(next);
}

export function neighbour(direction: 1 | -1): void {
  const all = listed.value;
  if (!all.length) return;
  const at = all.indexOf(selected.value);
  select(all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + direction))]);
}

/** Put the cursor at the time `t` of the axis. */
export function scrub(t: number): void {
  const found = run.value;
  const at = Math.max(0, t);
  cursor.value = !found || at >= found.end ? null : { moment: found.moment(at), at };
}

/** Put the cursor at a moment, which may have the same time as others. */
export function moveTo(moment: number): void {
  cursor.value = { moment, at: run.value?.time(moment) ?? 0 };
}
