// The account: tokens and milliseconds that add up, what is certified, and why something is not verified.

import { bytes, count, duration, oneLine, percent, plural, seconds } from "./format";
import { type Run, SIGNS, kind } from "./model";
import { Bar, type BarPart, Facts, Foreign } from "./parts";
import type { Ledger, Timing } from "./record";

const number = (value: unknown): number => (typeof value === "number" ? value : 0);

export function tokenParts(run: Run): BarPart[] {
  const ledger: Partial<Ledger> = run.data.result?.ledger ?? {};
  const part = (name: string, value: number, colour: string): BarPart => ({ name, value, text: count(value), colour });
  if (!run.data.result) {
    const lost = run.dead.reduce((sum, dead) => sum + dead.b - dead.a, 0);
    const share = run.text.length ? lost / run.text.length : 0;
    const all = run.tokensIn(0, run.count);
    return [part("kept", Math.round(all * (1 - share)), "stream"), part("discarded", Math.round(all * share), "bad")];
  }
  return [
    part("kept", number(ledger.kept), "stream"),
    part("discarded", number(ledger.discarded), "bad"),
    part("forks", number(ledger.fork_tokens), "our"),
    part("offline", number(ledger.offline_tokens), "unk"),
  ];
}

export function timeParts(run: Run): BarPart[] {
  const timing = run.data.result?.timing;
  const part = (name: string, s: number, colour: string): BarPart => ({ name, value: s, text: seconds(s), colour });
  if (!timing) {
    const first = (run.at[0] ?? run.end) / 1e6;
    return [part("first token", first, "dim"), part("streaming", Math.max(0, run.end / 1e6 - first), "stream")];
  }
  const total = number(timing.total);
  const first = Math.min(total, timing.first_token === null || timing.first_token === undefined ? total : number(timing.first_token));
  const tail = Math.min(total - first, number(timing.tail));
  const paused = Math.min(total - first - tail, number(timing.paused));
  return [
    part("first token", first, "dim"),
    part("streaming", Math.max(0, total - first - paused - tail), "stream"),
    part("remedies", paused, "bad"),
    part("tail", tail, "unk"),
  ];
}

export function Footer({ run, onOpen }: { run: Run; onOpen: () => void }) {
  return (
    <footer class="strip">
      <span class="name">tokens</span>
      <Bar label="tokens" parts={tokenParts(run)} />
      <span class="name">time</span>
      <Bar label="time" parts={timeParts(run)} />
      <button class="quiet" onClick={onOpen}>
        Account
      </button>
    </footer>
  );
}

function Table({ caption, parts, total }: { caption: string; parts: BarPart[]; total: string }) {
  return (
    <table class="sum">
      <caption>{caption}</caption>
      <tbody>
        {parts.map((part) => (
          <tr key={part.name}>
            <th scope="row">
              <i class={`dot ${part.colour}`} />
              {part.name}
            </th>
            <td>{part.text}</td>
          </tr>
        ))}
        <tr class="total">
          <th scope="row">total</th>
          <td>{total}</td>
        </tr>
      </tbody>
    </table>
  );
}

export function why(run: Run): string {
  const { result, status } = run.data;
  if (!status) return "the run is not over";
  if (status === "failed") return result?.error ?? "";
  if (status === "abstained") return result?.reason ?? "";
  const reasons = result?.unverified_reasons ?? [];
  if (status === "verified") return "";
  const first = reasons[0]?.why ?? "";
  return reasons.length > 1 ? `${first} (and ${reasons.length - 1} more)` : first;
}

export function Account({ run, onSpan }: { run: Run; onSpan: (span: [number, number]) => void }) {
  const { data } = run;
  const ledger: Partial<Ledger> = data.result?.ledger ?? {};
  const timing: Partial<Timing> = data.result?.timing ?? {};
  const tokens = tokenParts(run);
  const times = timeParts(run);
  const sum = tokens.reduce((all, part) => all + part.value, 0);
  const reasons = data.result?.unverified_reasons ?? [];
  const certificate = data.certificate;
  const blocked = Array.isArray(timing.blocked_loop) ? timing.blocked_loop.length : 0;
  const outcomes = new Map<string, Map<string, number>>();
  for (const check of run.checks) {
    if (!check) continue;
    const monitor = run.monitor(check.monitor);
    const row = outcomes.get(monitor) ?? new Map<string, number>();
    const outcome = check.outcome ?? "open";
    row.set(outcome, (row.get(outcome) ?? 0) + 1);
    outcomes.set(monitor, row);
  }
  return (
    <div class="account">
      <section>
        <h2>What is certified</h2>
        {certificate ? (
          <Facts
            rows={[
              ["scope", certificate.scope === "answer" ? "the answer itself was judged" : "steps on the way; the answer may be wrong"],
              ["coverage", `${percent(certificate.coverage ?? 0)} of the characters are in claims that passed`],
              ["checks", plural(certificate.checks?.length ?? 0, "check")],
              ["text", <code title="SHA-256 of the text">{(certificate.text_sha256 ?? "").slice(0, 16)}…</code>],
              certificate.hidden_reasoning ? ["reasoning", "was not sent by the server, and is not covered"] : null,
            ]}
          />
        ) : (
          <p class="dim">{data.status ? "Nothing: the run ended without a certificate." : "Nothing yet: the run is not over."}</p>
        )}
        {why(run) && !reasons.length && <Foreign as="p" text={why(run)} />}
        {reasons.length > 0 && (
          <>
            <h3>Why it is {data.status}</h3>
            <ul class="reasons">
              {reasons.slice(0, 60).map((reason, index) => (
                <li key={index}>
                  {reason.monitor ? <b>{oneLine(reason.monitor, 60)}: </b> : null}
                  {oneLine(reason.why, 600)}
                  {reason.span ? (
                    <>
                      {" "}
                      <button class="inline" onClick={() => onSpan(reason.span!)}>
                        at {reason.span[0]}–{reason.span[1]}
                      </button>
                    </>
                  ) : null}
                </li>
              ))}
              {reasons.length > 60 && <li class="dim">and {reasons.length - 60} more</li>}
            </ul>
          </>
        )}
      </section>
      <section>
        <h2>Tokens</h2>
        <Bar label="tokens" parts={tokens} keyed={false} />
        <Table caption="Generated tokens" parts={tokens} total={count(sum)} />
        <Facts
          rows={[
            ["prompt", number(ledger.prompt_tokens) ? `${count(number(ledger.prompt_tokens))}, of which ${count(number(ledger.cached_tokens))} from the cache` : null!],
            ["estimated", number(ledger.estimated_prompt_tokens) ? `${count(number(ledger.estimated_prompt_tokens))} prompt tokens without a count of the server` : null!],
            ["fork prompts", number(ledger.fork_prompt_tokens) ? count(number(ledger.fork_prompt_tokens)) : null!],
            ["wasted", number(ledger.wasted_tokens) ? `${count(number(ledger.wasted_tokens))} that the server generated after the stream was closed` : null!],
            ["probe", number(ledger.probe_tokens) ? count(number(ledger.probe_tokens)) : null!],
            ["requests", `${count(number(ledger.requests) || data.requests?.length || 0)}, ${plural(number(ledger.remedies), "remedy", "remedies")}, ${plural(number(ledger.reconnects), "reconnect")}`],
          ]}
        />
      </section>
      <section>
        <h2>Time</h2>
        <Bar label="time" parts={times} keyed={false} />
        <Table caption="From the start to the result" parts={times} total={seconds(times.reduce((all, part) => all + part.value, 0))} />
        <Facts
          rows={[
            ["largest gap", seconds(number(timing.largest_gap))],
            ["checks took", `${seconds(number(timing.checking))}, beside the stream`],
            blocked ? ["blocked loop", `${plural(blocked, "time")}: see the journal`] : null,
            ["journal", `${bytes(data.size)}${data.left_out ? `, and ${bytes(data.left_out)} that cannot be read` : ""}`],
          ]}
        />
      </section>
      <section>
        <h2>Monitors</h2>
        <table class="grid">
          <thead>
            <tr>
              <th scope="col">monitor</th>
              <th scope="col">delivery</th>
              <th scope="col">outcomes</th>
            </tr>
          </thead>
          <tbody>
            {(data.monitors ?? []).map((monitor, index) => (
              <tr key={index}>
                <th scope="row">{oneLine(monitor.name, 60)}</th>
                <td>{monitor.delivery}</td>
                <td>
                  {[...(outcomes.get(monitor.name) ?? [])].map(([outcome, n]) => (
                    <span key={outcome} class={`tally ${kind(outcome)}`}>
                      {SIGNS[outcome] ?? "?"} {count(n)}
                    </span>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <section>
        <h2>Requests</h2>
        <table class="grid">
          <thead>
            <tr>
              <th scope="col">request</th>
              <th scope="col">first token</th>
              <th scope="col">ended</th>
              <th scope="col">prompt</th>
            </tr>
          </thead>
          <tbody>
            {(data.requests ?? []).map((request, index) => {
              const sent = request.sent ?? request.accepted ?? 0;
              return (
                <tr key={index}>
                  <th scope="row">
                    {index + 1}
                    {request.resume ? ` by ${oneLine(request.resume, 20)}` : ""}
                  </th>
                  <td>{request.first === undefined ? "none" : `after ${duration(request.first - sent)}`}</td>
                  <td>{request.how ?? "open"}</td>
                  <td>{request.prompt_tokens ? `${count(request.prompt_tokens)}${request.cached_tokens ? ` (${count(request.cached_tokens)} cached)` : ""}` : "–"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
      {data.incidents?.length ? (
        <section>
          <h2>Incidents</h2>
          <ul class="reasons">
            {data.incidents.slice(0, 40).map((incident, index) => (
              <li key={index}>
                <b>{duration(incident.at ?? 0)}</b> {incident.what.replaceAll("_", " ")} {oneLine(incident.text ?? "", 300)}
              </li>
            ))}
          </ul>
        </section>
      ) : null}
    </div>
  );
}
