// The compact form of a run in the page: its types, and how the parts of a run that grows are put together.
//
// Numbers say in which order things happened; times do not, because a clock may stand still or be set back.

import type { RunData } from "./record";

export type { CheckTimes, RunData, RunRow, Span } from "./record";

type Part = Record<string, unknown>;

const APPENDED = ["chars", "gaps", "numbers", "weights", "styles", "cuts", "shown", "frontier", "incidents"];
const KEYED = ["requests", "checks", "forks", "remedies"];

/** Apply a part of a growing run to `run`. A part from offset 0 is the whole run. */
export function apply(run: RunData, part: Part): RunData {
  const whole = run as unknown as Part;
  for (const [name, value] of Object.entries(part)) {
    if (name === "text") run.text = (run.text ?? "") + (value as string);
    else if (APPENDED.includes(name)) {
      const held = (whole[name] ??= []) as unknown[];
      for (const each of value as unknown[]) held.push(each);
    } else if (KEYED.includes(name)) {
      const held = (whole[name] ??= []) as unknown[];
      for (const [index, entry] of Object.entries(value as Record<string, unknown>)) held[Number(index)] = entry;
    } else whole[name] = value;
  }
  return run;
}
