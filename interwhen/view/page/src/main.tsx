import { effect } from "@preact/signals";
import { render } from "preact";
import "./style.css";
import { compareKey, ComparePage } from "./compare";
import type { RunRow } from "./data";
import { ListPage } from "./list";
import { RunPage } from "./runpage";
import { announced, asReader, axis, close, config, cursor, failure, fold, go, link, moveTo, neighbour, now, open, playing, reason, route, run, runs, scrub, step, tab } from "./state";

function Waiting({ id }: { id: string }) {
  return (
    <div class="page">
      <header class="top">
        <a class="back" href={link()}>
          ‹ runs
        </a>
        <h1>{id}</h1>
      </header>
      <main class="text">
        <p class="empty" role="status">
          {failure.value || "loading"}
        </p>
      </main>
    </div>
  );
}

function App() {
  const at = route.value;
  return (
    <>
      {at.page === "list" ? <ListPage /> : at.page === "compare" ? <ComparePage ids={at.ids} /> : run.value ? <RunPage /> : <Waiting id={at.id} />}
      <div class="hidden" role="status" aria-live="polite">
        {announced.value}
      </div>
    </>
  );
}

let opened = "";
effect(() => {
  const at = route.value;
  const id = at.page === "run" ? at.id : "";
  if (id === opened) return;
  opened = id;
  if (id) {
    run.value = null;
    void open(id);
  } else {
    close();
    run.value = null;
  }
});

async function list(): Promise<void> {
  const found: RunRow[] = [];
  let next: string | null = "runs";
  try {
    while (next) {
      const answer: Response = await fetch(next);
      if (!answer.ok) throw new Error(await reason(answer));
      const page = (await answer.json()) as { runs: RunRow[]; next?: string };
      found.push(...page.runs);
      runs.value = [...found];
      next = page.next ? `runs?after=${encodeURIComponent(page.next)}` : null;
    }
  } catch (error) {
    failure.value = (error as Error).message;
  }
}

if (config.mode === "served") {
  void list();
  addEventListener("hashchange", () => route.value.page === "list" && void list());
}

const TYPING = new Set(["INPUT", "SELECT", "TEXTAREA"]);

addEventListener("keydown", (event) => {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || TYPING.has(target.tagName)) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const found = run.value;
  if (event.key === "Escape" && route.value.page !== "list" && (runs.value.length > 1 || config.mode === "served")) return go();
  if (route.value.page === "compare") {
    const act = compareKey(event.key);
    if (!act || (["Home", "End"].includes(event.key) && target.classList.contains("text"))) return;
    event.preventDefault();
    return act(event.shiftKey);
  }
  if (!found || route.value.page !== "run") return;
  const entry = (by: number) => {
    const n = Math.max(0, Math.min(found.count - 1, found.entries(now.value) - 1 + by));
    moveTo(found.number[n] ?? 0);
  };
  const keys: Record<string, () => void> = {
    n: () => step(1),
    p: () => step(-1),
    j: () => neighbour(1),
    k: () => neighbour(-1),
    f: () => (fold.value = !fold.value),
    r: () => (asReader.value = !asReader.value),
    ArrowRight: () => (event.shiftKey ? entry(1) : scrub(axis.value + found.end / 100)),
    ArrowLeft: () => (event.shiftKey ? entry(-1) : scrub(axis.value - found.end / 100)),
    Home: () => moveTo(0),
    End: () => (cursor.value = null),
    " ": () => (playing.value = !playing.value),
    "?": () => (tab.value = "help"),
    "/": () => document.querySelector<HTMLElement>("input[type=search]")?.focus(),
  };
  const act = keys[event.key];
  if (!act) return;
  // Buttons answer to space themselves; a scrolling text answers to Home and End itself.
  if (event.key === " " && ["BUTTON", "A"].includes(target.tagName)) return;
  if (["Home", "End"].includes(event.key) && target.classList.contains("text")) return;
  event.preventDefault();
  act();
});

render(<App />, document.getElementById("app")!);
