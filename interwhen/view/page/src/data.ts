// The compact form of a timeline, as `interwhen.timeline(journal).compact` has it. Times are microseconds since the run
// began, offsets are UTF-16 code units. A field that has its default value is left out.
//
// Numbers say in which order things happened; times do not, because a clock may stand still or be set back.

export type Span = [number, number];

export interface MonitorData {
  name: string;
  verifier?: string;
  version?: string;
  delivery?: string;
  worker?: string;
  deadline?: number;
  remedy?: string;
  required?: boolean;
  scope?: string;
  forks?: boolean;
}

export interface RequestData {
  sent?: number;
  accepted?: number;
  first?: number;
  ended?: number;
  how?: string;
  error?: string;
  resume?: string;
  reason?: string;
  entry?: number;
  at?: number;
  number?: number;
  prompt_tokens?: number;
  cached_tokens?: number;
  uncached_tokens?: number;
  completion_tokens?: number;
  remedy?: number;
}

export interface CheckData {
  monitor?: number;
  key?: string;
  /** In place of the key, where the journal is redacted. */
  sha256?: string;
  span?: Span;
  segment?: Span;
  /** The numbers at which it was ordered and ended; one alone if it has not ended. */
  numbers: number[];
  ordered?: number;
  began?: number;
  ended?: number;
  worker?: string;
  outcome?: string;
  why?: string;
  witness?: string;
  where?: Span;
  repair?: string;
  scope?: string;
  tries?: number;
  lag?: number;
  cut?: number;
  remedy?: number;
  interrupted?: boolean;
  fork?: number;
}

export interface ForkData {
  monitor?: number;
  segment?: Span;
  number?: number;
  ordered?: number;
  began?: number;
  ended?: number;
  outcome?: string;
  claims?: number;
  why?: string;
  tokens?: number;
  prompt_tokens?: number;
  cached_tokens?: number;
}

export interface RemedyData {
  kind?: string;
  number?: number;
  check?: number;
  monitor?: number;
  span?: Span;
  quote?: string;
  why?: string;
  witness?: string;
  found?: number;
  closed?: number;
  cut_at?: number;
  to?: number;
  written?: number;
  inserted?: string;
  sent?: number;
  accepted?: number;
  first?: number;
  request?: number;
  cut_chars?: number;
  cut_tokens?: number;
  entry?: number;
}

export interface Reason {
  monitor?: string;
  span?: Span;
  why: string;
  verifier?: string;
}

export interface ResultData {
  finish_reason?: string;
  reason?: string;
  error?: string;
  scope?: string;
  unverified?: Reason[];
  hidden_reasoning?: boolean;
  ledger?: Record<string, unknown>;
  timing?: Record<string, unknown>;
  wire?: Record<string, unknown>;
}

export interface Steps {
  gaps: number[];
  to: number[];
  numbers: number[];
}

export interface RunData {
  version: number;
  offset?: number;
  from?: number;
  path?: string;
  size?: number;
  left_out?: number;
  interwhen?: string;
  written?: number;
  model?: string;
  prompt?: string | { role: string; content: string }[];
  redacted?: boolean;
  monitors?: MonitorData[];
  end?: number;
  status?: string;
  label?: string;
  text?: string;
  tokens?: { chars: number[]; gaps: number[] };
  /** The entries whose number is not that of the entry before plus one. */
  numbers?: [number, number][];
  weights?: [number, number][];
  styles?: [number, string, string][];
  /** Entry, offset, time, remedy, number. */
  cuts?: [number, number, number, number, number][];
  frontier?: Steps;
  shown?: Steps;
  requests?: RequestData[];
  checks?: CheckData[];
  forks?: ForkData[];
  remedies?: RemedyData[];
  incidents?: { at?: number; number?: number; what: string; text?: string }[];
  result?: ResultData;
  certificate?: {
    text_sha256?: string;
    scope?: string;
    coverage?: number;
    covered?: Span[];
    refuted?: Span[];
    checks?: number[];
    hidden_reasoning?: boolean;
  };
  differences?: string[];
  /** The monitor that checked the recorded text again; its checks stand in place of those of the run. */
  rechecked?: string;
}

/** One row of the list of runs: what can be told without the whole journal. */
export interface RunRow {
  id: string;
  path: string;
  written?: number;
  model?: string;
  monitors?: string[];
  status?: string;
  label?: string;
  scope?: string;
  tokens?: number;
  discarded?: number;
  remedies?: number;
  violations?: number;
  found?: string[];
  seconds?: number;
  size?: number;
  error?: string;
}

type Part = Record<string, unknown>;

const APPENDED = ["numbers", "weights", "styles", "cuts"] as const;
const COLUMNS = { tokens: ["chars", "gaps"], frontier: ["gaps", "to", "numbers"], shown: ["gaps", "to", "numbers"] } as const;
const KEYED = ["requests", "checks", "forks", "remedies", "incidents"] as const;

function extend(into: unknown[], more: unknown[]): void {
  for (const each of more) into.push(each);
}

/** Apply a part of a growing run to `run`. A part from offset 0 is the whole run. */
export function apply(run: RunData, part: Part): RunData {
  const whole = run as unknown as Part;
  for (const [name, value] of Object.entries(part)) {
    if (name === "text") run.text = (run.text ?? "") + (value as string);
    else if ((APPENDED as readonly string[]).includes(name)) {
      extend((whole[name] ??= []) as unknown[], value as unknown[]);
    } else if (name in COLUMNS) {
      const columns = COLUMNS[name as keyof typeof COLUMNS];
      const held = (whole[name] ??= Object.fromEntries(columns.map((c) => [c, []]))) as Record<string, unknown[]>;
      for (const column of columns) extend(held[column], (value as Record<string, unknown[]>)[column] ?? []);
    } else if ((KEYED as readonly string[]).includes(name)) {
      const held = (whole[name] ??= []) as unknown[];
      for (const [index, entry] of Object.entries(value as Record<string, unknown>)) held[Number(index)] = entry;
    } else whole[name] = value;
  }
  return run;
}
