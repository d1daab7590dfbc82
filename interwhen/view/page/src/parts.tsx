// Small parts that several pages share.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { put } from "./text";

const LABELS: Record<string, string> = {
  verified: "verified",
  unverified: "unverified",
  abstained: "abstained",
  failed: "failed",
  rechecked: "rechecked",
};
const SIGN: Record<string, string> = { verified: "✓", unverified: "?", abstained: "⊘", failed: "✗", running: "●", rechecked: "↻" };

export function Badge({ status, label }: { status?: string; label?: string }) {
  const shown = status ?? "running";
  return (
    <span class={`badge ${shown}`}>
      <span aria-hidden="true">{SIGN[shown] ?? "?"}</span> {label ?? LABELS[shown] ?? "not over"}
    </span>
  );
}

/** Text of others, in one element, with every acting character visible. */
export function Foreign({ text, as = "span", name = "" }: { text: string; as?: "span" | "code" | "pre" | "p"; name?: string }) {
  const ref = useRef<HTMLElement>(null);
  useLayoutEffect(() => {
    const box = ref.current!;
    box.textContent = "";
    put(box, text);
  }, [text]);
  const Tag = as as "span";
  return <Tag ref={ref as never} class={name} dir="auto" />;
}

export interface BarPart {
  name: string;
  value: number;
  text: string;
  colour: string;
}

/** Parts of a whole, side by side, and a key. */
export function Bar({ label, parts, keyed = true }: { label: string; parts: BarPart[]; keyed?: boolean }) {
  const shown = parts.filter((part) => part.value > 0);
  const total = shown.reduce((sum, part) => sum + part.value, 0) || 1;
  return (
    <span class="bar">
      <span class="stack" role="img" aria-label={`${label}: ${parts.map((part) => `${part.name} ${part.text}`).join(", ")}`}>
        {shown.map((part) => (
          <i key={part.name} class={`fill ${part.colour}`} style={{ width: `${(100 * part.value) / total}%` }} title={`${part.name} ${part.text}`} />
        ))}
      </span>
      {keyed && (
        <span class="key" aria-hidden="true">
          {shown.map((part) => (
            <span key={part.name}>
              <i class={`dot ${part.colour}`} />
              {part.name} <b>{part.text}</b>
            </span>
          ))}
        </span>
      )}
    </span>
  );
}

/** Facts whose values need a whole line. */
const WIDE = new Set(["claim", "right value", "took"]);

export function Facts({ rows, twice = false }: { rows: ([string, ComponentChildren] | null)[]; twice?: boolean }) {
  return (
    <dl class={twice ? "facts twice" : "facts"}>
      {rows
        .filter((row): row is [string, ComponentChildren] => row !== null && row[1] !== "" && row[1] !== undefined && row[1] !== null && row[1] !== false)
        .map(([term, value]) => (
          <div key={term} class={WIDE.has(term) ? "wide" : ""}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
