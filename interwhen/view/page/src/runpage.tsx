// The page of one run: lanes, text, evidence and account, with one cursor of time through all of them.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Account, Footer, why } from "./account";
import { Checks, Evidence } from "./evidence";
import { count, duration, oneLine } from "./format";
import { GUTTER, heightOf, LanePicture, lanesOf, RIGHT } from "./lanes";
import { Help } from "./help";
import { layOut, type Rows, rowOf, rowsUntil } from "./layout";
import type { Run } from "./model";
import { Badge, Foreign } from "./parts";
import { asReader, axis, config, connection, cursor, fold, isDark, link, now, only, playing, run as opened, runs, scrub, select, selected, step, tab, theme, unfolded } from "./state";
import { Painter, ROW, type Scene } from "./text";

export function Tools() {
  const next = theme.value === "auto" ? (isDark.value ? "light" : "dark") : theme.value === "dark" ? "light" : "dark";
  return (
    <button class="icon" aria-label={`Use the ${next} theme`} title={`Use the ${next} theme`} onClick={() => (theme.value = next)}>
      {isDark.value ? "☀" : "☾"}
    </button>
  );
}

function Header({ run }: { run: Run }) {
  const { data } = run;
  const because = why(run);
  return (
    <header class="top">
      {runs.value.length > 1 || config.mode === "served" ? (
        <a class="back" href={link()} aria-label="All runs">
          ‹ runs
        </a>
      ) : null}
      <h1 title={data.path}>{oneLine(run.title, 70)}</h1>
      <Badge status={data.status} label={data.label} />
      {connection.value !== "none" && (
        <span class={`live ${connection.value}`} role="status">
          {connection.value === "live" ? "live" : "reconnecting"}
        </span>
      )}
      {data.redacted && <span class="live">redacted</span>}
      <span class="fact">
        model <b>{oneLine(data.model ?? "", 40)}</b>
      </span>
      <span class="fact">
        checks <b>{count(run.checks.length)}</b>
      </span>
      <span class="fact">
        cuts <b>{count(data.remedies?.length ?? 0)}</b>
      </span>
      <span class="because" title={because}>
        {because ? (
          <>
            because <b>{oneLine(because, 160)}</b>
          </>
        ) : null}
      </span>
      <span class="group">
        <button aria-label="Previous violation" title="Previous violation (p)" disabled={!run.violations.length} onClick={() => step(-1)}>
          ‹
        </button>
        <span class="what" aria-hidden="true">
          {run.violations.length ? `${run.violations.indexOf(selected.value) + 1 || "–"} / ${run.violations.length} violations` : "no violation"}
        </span>
        <button aria-label="Next violation" title="Next violation (n)" disabled={!run.violations.length} onClick={() => step(1)}>
          ›
        </button>
      </span>
      <button class="icon" aria-label={playing.value ? "Pause" : "Play"} title="Play (space)" onClick={() => (playing.value = !playing.value)}>
        {playing.value ? "❚❚" : "▶"}
      </button>
      <Tools />
    </header>
  );
}

function Lanes({ run }: { run: Run }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const picture = useRef<LanePicture | null>(null);
  const [width, setWidth] = useState(0);
  const moment = now.value;
  const t = axis.value;

  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => setWidth(box.current?.clientWidth ?? 0));
    seen.observe(box.current!);
    setWidth(box.current!.clientWidth);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!width) return;
    const made = new LanePicture(canvas.current!, run);
    picture.current = made;
    made.draw(width, only.value, selected.value);
  }, [run, width, only.value, selected.value, isDark.value]);

  const x = GUTTER + (Math.max(0, width - GUTTER - RIGHT) * t) / run.end;
  const at = (event: PointerEvent) => event.clientX - box.current!.getBoundingClientRect().left;

  const near = (shown: LanePicture, px: number, py: number): number => {
    const lanes = lanesOf(run);
    const lane = lanes.findIndex((_, index) => py >= shown.laneTop(index) && py < shown.laneTop(index + 1));
    if (lane < 0 || lanes[lane].kind !== "monitor") return -1;
    let best = -1;
    let least = 7;
    run.checks.forEach((check, index) => {
      if (!check || (check.monitor ?? 0) !== lanes[lane].monitor || (only.value && check.outcome !== only.value)) return;
      const away = Math.abs(shown.x(check.ended ?? run.end) - px) - (check.outcome === "violation" ? 2 : 0);
      if (away < least) [best, least] = [index, away];
    });
    return best;
  };

  const drag = useRef(false);
  const move = (event: PointerEvent) => {
    if (drag.current && picture.current) scrub(picture.current.time(at(event)));
  };

  return (
    <section class="lanes" aria-label="Stream, checks and frontier over time" ref={box} style={{ height: `${heightOf(run) + 1}px` }}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="slider"
        aria-label="Time"
        aria-valuemin={0}
        aria-valuemax={Math.round(run.end / 10) / 100}
        aria-valuenow={Math.round(t / 10) / 100}
        aria-valuetext={`${duration(t)} of ${duration(run.end)}, ${count(run.written(moment))} characters written, ${count(run.proven(moment))} proven`}
        onPointerDown={(event) => {
          // The picture is made after the element, so it is read here and not when the handler is made.
          const shown = picture.current;
          if (!shown) return;
          const found = near(shown, at(event), event.clientY - box.current!.getBoundingClientRect().top);
          if (found >= 0) return select(found);
          drag.current = true;
          scrub(shown.time(at(event)));
          event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={move}
        onPointerUp={() => (drag.current = false)}
        onPointerCancel={() => (drag.current = false)}
      />
      <div class="cursor" style={{ transform: `translateX(${x}px)` }} aria-hidden="true">
        {cursor.value !== null && <span class={x > width - 90 ? "left" : ""}>{duration(t)}</span>}
      </div>
    </section>
  );
}

interface Kept {
  run: Run;
  rows: Map<string, Rows>;
}

function useRows(): (run: Run, cuts: number, width: number) => Rows {
  const kept = useRef<Kept | null>(null);
  return (run, cuts, width) => {
    if (kept.current?.run !== run) kept.current = { run, rows: new Map() };
    const key = `${cuts}/${width}/${fold.value}/${[...unfolded.value].join(",")}`;
    const known = kept.current.rows.get(key);
    if (known) return known;
    // All that is written before the next cut: moving the cursor within this time only hides rows.
    const tape = run.tape(cuts < run.cutNumber.length ? run.cutNumber[cuts] - 0.5 : Infinity);
    const made = layOut(run, cuts, tape, width, unfolded.value, fold.value);
    if (kept.current.rows.size > 6) kept.current.rows.clear();
    kept.current.rows.set(key, made);
    return made;
  };
}

const MARGIN = 84;

function TextPane({ run }: { run: Run }) {
  const scroller = useRef<HTMLElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const painter = useRef<Painter | null>(null);
  const rowsFor = useRows();
  const [width, setWidth] = useState(0);
  const moment = now.value;
  const before = useRef({ selected: -2, cursor: cursor.value, run: run as Run | null });

  useLayoutEffect(() => {
    painter.current = new Painter(box.current!, scroller.current!);
    const probe = document.createElement("span");
    probe.className = "probe";
    probe.textContent = "0".repeat(100);
    box.current!.append(probe);
    const wide = probe.getBoundingClientRect().width / 100 || 7.8;
    probe.remove();
    const measure = () => {
      const room = scroller.current!.clientWidth - MARGIN - 12;
      setWidth(Math.max(20, Math.floor(room / wide)));
      painter.current!.paint();
    };
    const seen = new ResizeObserver(measure);
    seen.observe(scroller.current!);
    measure();
    return () => seen.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (!width || !painter.current) return;
    const cuts = run.cuts(moment);
    const rows = rowsFor(run, cuts, width);
    const view = scroller.current!;
    const stuck = view.scrollTop + view.clientHeight > view.scrollHeight - ROW * 2;
    const tape = run.tape(moment);
    const sent = run.shown ? run.onTape(run.sent(moment), moment) : tape;
    const scene: Scene = {
      run,
      rows,
      moment,
      tape: asReader.value ? sent : tape,
      cuts,
      proven: run.onTape(run.proven(moment), moment),
      shown: sent,
      selected: selected.value,
    };
    painter.current.show(scene);
    const was = before.current;
    const check = run.checks[selected.value];
    const place = check && run.place(check);
    if (was.selected !== selected.value && place) painter.current.reveal(rowOf(rows, place[0]));
    else if (was.cursor !== cursor.value) {
      const last = Math.max(0, rowsUntil(rows, Math.max(1, scene.tape)) - 1);
      painter.current.reveal(last, false);
    } else if (was.run !== run && stuck && !run.over) view.scrollTop = view.scrollHeight;
    before.current = { selected: selected.value, cursor: cursor.value, run };
  }, [run, width, moment, selected.value, fold.value, unfolded.value, asReader.value]);

  return (
    <main
      class="text"
      ref={scroller}
      tabIndex={0}
      aria-label="Text of the run"
      onScroll={() => painter.current?.paint()}
      onClick={(event) => {
        const target = event.target as HTMLElement;
        const folded = target.dataset.fold;
        if (folded !== undefined) unfolded.value = new Set([...unfolded.value, Number(folded)]);
        const check = target.closest<HTMLElement>("[data-check]")?.dataset.check;
        if (check !== undefined) select(Number(check));
      }}
    >
      {run.data.redacted ? <p class="empty">The journal is redacted: it holds lengths, hashes and verdicts, and no text.</p> : null}
      {!run.data.redacted && !run.text ? <p class="empty">{run.over ? "The model wrote no text." : "No text yet."}</p> : null}
      <div class="rows" ref={box} />
    </main>
  );
}

function Prompt({ run }: { run: Run }) {
  const prompt = run.data.prompt;
  if (prompt === undefined) return <p class="dim">The journal holds no prompt.</p>;
  const messages = typeof prompt === "string" ? [{ role: "text", content: prompt }] : prompt;
  return (
    <div class="prompt">
      {messages.map((message, index) => (
        <section key={index}>
          <h3>{oneLine(String(message.role), 40)}</h3>
          <Foreign as="pre" text={typeof message.content === "string" ? message.content : JSON.stringify(message.content, null, 1)} />
        </section>
      ))}
    </div>
  );
}

const TABS = [
  ["evidence", "Evidence"],
  ["account", "Account"],
  ["prompt", "Prompt"],
  ["help", "Help"],
] as const;

function Side({ run }: { run: Run }) {
  const chosen = tab.value;
  const show = (span: [number, number]) => {
    const at = run.onTape(span[0], Infinity);
    const found = run.touchingMarks(at, at + 1)[0];
    if (found) select(found.index);
    else document.querySelector<HTMLElement>(".text")?.focus();
  };
  return (
    <aside class="side" aria-label="Details">
      <div class="tabs">
        <div role="tablist" aria-label="Details">
        {TABS.map(([id, title]) => (
          <button
            key={id}
            id={`tab-${id}`}
            role="tab"
            aria-selected={chosen === id}
            aria-controls="panel"
            tabIndex={chosen === id ? 0 : -1}
            onClick={() => (tab.value = id)}
            onKeyDown={(event) => {
              const at = TABS.findIndex(([each]) => each === chosen);
              const to = event.key === "ArrowRight" ? at + 1 : event.key === "ArrowLeft" ? at - 1 : at;
              if (to === at) return;
              event.preventDefault();
              event.stopPropagation();
              tab.value = TABS[(to + TABS.length) % TABS.length][0];
              document.getElementById(`tab-${tab.value}`)?.focus();
            }}
          >
            {title}
          </button>
        ))}
        </div>
        <span class="switches">
          <button aria-pressed={!fold.value} title="Show all text that was taken back (f)" onClick={() => (fold.value = !fold.value)}>
            taken back
          </button>
          {run.shown && (
            <button aria-pressed={asReader.value} title="Show what the reader had been sent (r)" onClick={() => (asReader.value = !asReader.value)}>
              reader
            </button>
          )}
        </span>
      </div>
      <div class={`panel ${chosen}`} id="panel" role="tabpanel" aria-labelledby={`tab-${chosen}`} tabIndex={chosen === "evidence" ? undefined : 0}>
        {chosen === "evidence" ? (
          <>
            <div class="upper" tabIndex={0} role="region" aria-label="Evidence of the chosen check">
              <Evidence run={run} />
            </div>
            <Checks run={run} />
          </>
        ) : chosen === "account" ? (
          <Account run={run} onSpan={show} />
        ) : chosen === "prompt" ? (
          <Prompt run={run} />
        ) : (
          <Help />
        )}
      </div>
    </aside>
  );
}

/** Moves the cursor while the run is played: the whole run in at most ten seconds. */
function usePlayer(run: Run): void {
  useEffect(() => {
    if (!playing.value) return;
    let frame = 0;
    let last = performance.now();
    let t = cursor.value?.at ?? 0;
    const rate = Math.max(1, run.end / 1000 / 10_000);
    const tick = (at: number) => {
      t += (at - last) * 1000 * rate;
      last = at;
      scrub(t);
      if (cursor.value === null) playing.value = false;
      else frame = requestAnimationFrame(tick);
    };
    scrub(t);
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing.value, run]);
}

export function RunPage() {
  const run = opened.value!;
  usePlayer(run);
  return (
    <div class="page">
      <Header run={run} />
      <Lanes run={run} />
      <TextPane run={run} />
      <Side run={run} />
      <Footer run={run} onOpen={() => (tab.value = "account")} />
    </div>
  );
}
