// The evidence of one check, and the list of all of them.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { CheckTimes } from "./data";
import type { ClaimVerdict } from "./record";
import { claimOf, count, duration, oneLine, plural } from "./format";
import { kind, labelledCase, type Run, SIGNS, spanText, WORDS } from "./model";
import { Facts, Foreign } from "./parts";
import { command, config, go, halves, isWrong, listed, markWrong, name, neighbour, only, query, reason, runs, say, select, selected } from "./state";

/** Copy text; where the browser forbids it, select it in a box so that a person can. */
async function copy(text: string, fallback: (text: string) => void): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say("copied");
  } catch {
    fallback(text);
  }
}

/** What a check was about: its words in the text, else its key. */
function claimText(run: Run, check: CheckTimes): string {
  return run.judged(check) || (run.data.redacted ? (check.key ?? "").slice(0, 16) : claimOf(check.key));
}

function Split({ check }: { check: CheckTimes }) {
  const ordered = check.ordered ?? 0;
  if (check.ended === undefined) return <>not ended</>;
  const began = check.began ?? check.ended;
  const queue = Math.max(0, began - ordered);
  const work = Math.max(0, check.ended - began);
  return (
    <span class="split">
      {duration(check.ended - ordered)}
      <span class="dim">
        {" "}
        = {duration(queue)} queue + {duration(work)} work
      </span>
    </span>
  );
}

function Story({ run, check }: { run: Run; check: CheckTimes }) {
  const remedy = check.remedy === undefined ? undefined : run.data.remedies?.[check.remedy];
  if (!remedy) return null;
  const found = remedy.found ?? check.ended ?? 0;
  const rows: [number | undefined, string, number?][] = [
    [found, "violation found"],
    [remedy.closed, "stream closed"],
    [remedy.cut, `cut back to ${remedy.violation.cut}: ${plural(remedy.removed_tokens ?? 0, "token")}, ${plural(remedy.removed ?? 0, "character")} taken back`],
    [remedy.written, remedy.violation.inserted ? `«${oneLine(remedy.violation.inserted, 90)}» written in its place` : "text written"],
    [remedy.sent, "new request sent"],
    [remedy.accepted, "new request accepted"],
    [remedy.first, remedy.first !== undefined && remedy.accepted !== undefined && remedy.first - remedy.accepted > 1e6 ? "first new token: the server read the prefix again" : "first new token"],
  ];
  return (
    <section class="story" aria-label="The remedy">
      <h3>
        Remedy: {remedy.remedy}
        {remedy.first !== undefined && <span class="cost">{duration(remedy.first - found)}</span>}
      </h3>
      <ol>
        {rows.map(([at, text], row) =>
          at === undefined ? null : (
            <li key={text}>
              <time>{row ? `${at < found ? "" : "+"}${duration(at - found)}` : duration(found)}</time>
              <span>{text}</span>
            </li>
          ),
        )}
      </ol>
    </section>
  );
}

export function Evidence({ run }: { run: Run }) {
  const index = selected.value;
  const check = run.checks[index];
  const [again, setAgain] = useState<{ index: number; text: string; good: boolean } | null>(null);
  const [manual, setManual] = useState<string | null>(null);
  const [another, setAnother] = useState(false);
  if (!check) {
    return (
      <div class="evidence">
        <p class="dim">
          {run.checks.length
            ? "Choose a sign in the margin, an underlined claim or a mark in a lane; n goes to the next violation."
            : "No check ran on this text."}
        </p>
        <Another run={run} />
      </div>
    );
  }
  const monitor = run.data.monitors?.[check.monitor ?? 0];
  const outcome = check.outcome ?? "open";
  const quote = run.judged(check);
  const claim = claimOf(check.key);
  const contested = isWrong(index);
  const path = run.data.path ?? "FILE";

  const verify = async () => {
    if (config.mode !== "served" || !config.verify) {
      const line = `interwhen recheck ${quoted(path)}`;
      setAgain({ index, text: `This page has no server. The command that checks again offline: ${line}`, good: true });
      void copy(line, setManual);
      return;
    }
    setAgain({ index, text: "checking …", good: true });
    try {
      const answer = await command(`runs/${encodeURIComponent(name.value)}/verify`, { check: index });
      if (!answer.ok) throw new Error(await reason(answer));
      const found = (await answer.json()) as ClaimVerdict;
      const same = found.outcome === outcome;
      const more = [found.why, found.changed].filter(Boolean).join("; ");
      setAgain({ index, text: `${same ? "The same" : "Now another"} outcome: ${WORDS[found.outcome] ?? found.outcome}${more ? ` (${more})` : ""}`, good: same });
    } catch (error) {
      setAgain({ index, text: String((error as Error).message), good: false });
    }
  };

  return (
    <div class="evidence" aria-label="Evidence" role="region">
      <h2>
        <span class={kind(outcome)}>
          {SIGNS[outcome] ?? "!"} {WORDS[outcome] ?? outcome}
        </span>{" "}
        {oneLine(run.monitor(check.monitor), 60)}
        {contested && <span class="contested">marked as wrong</span>}
      </h2>
      {quote || claim ? <Foreign as="pre" name="quote" text={(quote || claim).slice(0, 1200)} /> : null}
      {check.why && <Foreign as="p" name={outcome === "violation" ? "why violation" : "why"} text={check.why} />}
      {check.witness && <Foreign as="p" name="witness" text={check.witness} />}
      {outcome === "violation" && <Story run={run} check={check} />}
      {outcome === "violation" && check.remedy === undefined && (
        <p class="dim">{check.interrupted ? "No remedy: an earlier violation was dealt with first, or the run ended." : "Noted only: this monitor does not interrupt here."}</p>
      )}
      <div class="buttons">
        {run.data.rechecked === undefined && <button onClick={() => void verify()}>Verify again</button>}
        <button aria-pressed={contested} onClick={() => markWrong(index)}>
          {contested ? "Unmark" : "Mark as wrong verdict"}
        </button>
        <button
          title="A line for interwhen verifiers try"
          disabled={run.data.redacted}
          onClick={() => void copy(labelledCase(run, check, contested), setManual)}
        >
          Copy as labelled case
        </button>
        {canRecheck(run) && (
          <button aria-expanded={another} onClick={() => setAnother(!another)}>
            With another monitor
          </button>
        )}
      </div>
      {another && <Another run={run} />}
      {again?.index === index && (
        <p class={again.good ? "note" : "note bad"} role="status">
          {again.text}
        </p>
      )}
      {manual !== null && <Manual text={manual} onDone={() => setManual(null)} />}
      <Facts
        twice
        rows={[
          claim && claim !== quote ? ["claim", <Foreign as="code" text={claim.slice(0, 400)} />] : null,
          ["verifier", `${oneLine(monitor?.verifier ?? "", 60)} ${oneLine(monitor?.version ?? "", 20)}`],
          ["delivery", oneLine(monitor?.delivery ?? "", 20)],
          ["scope", check.scope === "answer" ? "the answer" : "a step"],
          ["worker", oneLine(check.worker ?? "", 40)],
          [run.data.rechecked === undefined ? "read at" : "written at", duration(check.ordered)],
          run.data.rechecked === undefined ? ["lag", plural(check.lag ?? 0, "token")] : null,
          ["place", check.span ? `${spanText(check.span)}${check.cut === undefined ? "" : ", cut"}` : "not known"],
          (check.tries ?? 1) > 1 ? ["tries", count(check.tries)] : null,
          run.data.rechecked === undefined ? ["took", <Split check={check} />] : null,
          check.repair !== undefined ? ["right value", <Foreign as="code" text={check.repair} />] : null,
        ]}
      />
    </div>
  );
}

/** Whether the text of a run can be checked with other monitors. */
const canRecheck = (run: Run): boolean => !run.data.redacted && run.over && run.text !== "";

/** Check the recorded text with another monitor, and show both side by side. */
function Another({ run }: { run: Run }) {
  const [spec, setSpec] = useState("");
  const [line, setLine] = useState("");
  const [manual, setManual] = useState<string | null>(null);
  if (!canRecheck(run)) return null;
  const served = config.mode === "served" && config.verify;
  // Without a server, and for the user of this machine, any installed monitor will do.
  const known = config.monitors ?? [...new Set(runs.value.filter((row) => row.status !== "rechecked").flatMap((row) => row.monitors ?? []))].sort();
  const free = !served || config.monitors !== undefined;
  const [recorded] = halves(name.value);
  const start = (event: Event) => {
    event.preventDefault();
    const wanted = spec.trim();
    if (!wanted) return;
    if (served) return go("compare", name.value, `${recorded}@${wanted}`);
    const made = `interwhen view ${quoted(run.data.path ?? "FILE")} --recheck ${quoted(wanted)}`;
    setLine(made);
    void copy(made, setManual);
  };
  return (
    <form class="another" onSubmit={start} aria-label="Check the text with another monitor">
      <label>
        another monitor
        {free ? (
          <input list="monitors" value={spec} placeholder="NAME or NAME:OPTION=VALUE" spellcheck={false} onInput={(event) => setSpec(event.currentTarget.value)} />
        ) : (
          <select value={spec} onChange={(event) => setSpec(event.currentTarget.value)}>
            <option value="">choose</option>
            {known.map((each) => (
              <option key={each} value={each}>
                {oneLine(each, 50)}
              </option>
            ))}
          </select>
        )}
      </label>
      <datalist id="monitors">
        {known.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
      <button disabled={!spec.trim()}>{served ? "Compare" : "Copy command"}</button>
      {line && (
        <p class="note" role="status">
          This page has no server. The command that shows both side by side: {oneLine(line, 300)}
        </p>
      )}
      {manual !== null && <Manual text={manual} onDone={() => setManual(null)} />}
    </form>
  );
}

/** A word for a shell. */
function quoted(word: string): string {
  return /^[\w./:=,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function Manual({ text, onDone }: { text: string; onDone: () => void }) {
  return (
    <label class="manual">
      Copy this text:
      <textarea readOnly rows={3} value={text} ref={(box) => box?.select()} onBlur={onDone} />
    </label>
  );
}

const ITEM = 26;

export function Checks({ run }: { run: Run }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(200);
  const all = listed.value;
  const tally = new Map<string, number>();
  for (const check of run.checks) if (check) tally.set(check.outcome ?? "open", (tally.get(check.outcome ?? "open") ?? 0) + 1);
  const at = all.indexOf(selected.value);

  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => setHeight(box.current?.clientHeight ?? 200));
    seen.observe(box.current!);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    const view = box.current!;
    if (at < 0) return;
    const y = at * ITEM;
    if (y < view.scrollTop || y > view.scrollTop + view.clientHeight - ITEM) view.scrollTop = y - view.clientHeight / 2;
  }, [at]);

  const from = Math.max(0, Math.floor(top / ITEM) - 4);
  const to = Math.min(all.length, Math.ceil((top + height) / ITEM) + 4);
  const order = ["violation", "unknown", "error", "timed_out", "open", "pass", "skipped", "cancelled"];
  return (
    <section class="checks" aria-label="Checks">
      <div class="filters" role="group" aria-label="Filter by outcome">
        <button aria-pressed={only.value === null} onClick={() => (only.value = null)}>
          all {count(run.checks.length)}
        </button>
        {order
          .filter((outcome) => tally.has(outcome))
          .map((outcome) => (
            <button
              key={outcome}
              aria-pressed={only.value === outcome}
              onClick={() => (only.value = only.value === outcome ? null : outcome)}
            >
              <span class={kind(outcome)}>{SIGNS[outcome]}</span> {WORDS[outcome]} {count(tally.get(outcome))}
            </button>
          ))}
        <input
          type="search"
          aria-label="Search the checks"
          placeholder="search"
          value={query.value}
          onInput={(event) => (query.value = event.currentTarget.value)}
        />
      </div>
      <div
        class="list"
        ref={box}
        role="listbox"
        tabIndex={0}
        aria-label={`${count(all.length)} checks`}
        aria-activedescendant={at >= from && at < to ? `check-${all[at]}` : undefined}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        onKeyDown={(event) => {
          const moves: Record<string, 1 | -1> = { ArrowDown: 1, ArrowUp: -1 };
          const move = moves[event.key];
          if (!move) return;
          event.preventDefault();
          event.stopPropagation();
          neighbour(move);
        }}
      >
        <div class="spacer" role="presentation" style={{ height: `${all.length * ITEM}px` }}>
          {all.slice(from, to).map((index, place) => {
            const check = run.checks[index];
            const outcome = check.outcome ?? "open";
            return (
              <div
                key={index}
                id={`check-${index}`}
                role="option"
                class="item"
                aria-selected={index === selected.value}
                aria-setsize={all.length}
                aria-posinset={from + place + 1}
                style={{ transform: `translateY(${(from + place) * ITEM}px)` }}
                onClick={() => select(index)}
              >
                <span class={`mark ${kind(outcome)}`}>{SIGNS[outcome] ?? "!"}</span>
                <span class="when">{duration(check.ended ?? check.ordered)}</span>
                <code>{oneLine(claimText(run, check), 90)}</code>
                {isWrong(index) && <span class="contested">wrong</span>}
              </div>
            );
          })}
        </div>
      </div>
    </section>
  );
}
