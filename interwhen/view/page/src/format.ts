// Numbers and text for people. Text of others is shown with every acting character visible.

/** A duration in microseconds. */
export function duration(us: number | undefined): string {
  if (us === undefined || !Number.isFinite(us)) return "–";
  const sign = us < 0 ? "−" : "";
  const x = Math.abs(us);
  if (x === 0) return "0";
  if (x < 1000) return `${sign}${x.toFixed(0)} µs`;
  const ms = x / 1000;
  if (ms < 10) return `${sign}${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${sign}${ms.toFixed(0)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${sign}${s.toFixed(2)} s`;
  if (s < 100) return `${sign}${s.toFixed(1)} s`;
  if (s < 3600) return `${sign}${Math.floor(s / 60)} min ${String(Math.round(s % 60)).padStart(2, "0")} s`;
  return `${sign}${Math.floor(s / 3600)} h ${String(Math.round((s % 3600) / 60)).padStart(2, "0")} min`;
}

export const seconds = (s: number | undefined): string => duration(s === undefined ? undefined : s * 1e6);

const GROUPS = new Intl.NumberFormat("en-US");
export const count = (n: number | undefined): string => GROUPS.format(n ?? 0);

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export function percent(share: number): string {
  const p = share * 100;
  return p > 0 && p < 1 ? "< 1 %" : `${p.toFixed(0)} %`;
}

export function date(written: number | undefined): string {
  if (!written) return "";
  const d = new Date(written * 1000);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}

export function bytes(n: number | undefined): string {
  if (n === undefined) return "";
  if (n < 1000) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(0)} kB`;
  return `${(n / 1e6).toFixed(1)} MB`;
}

/** Characters that would move, hide or reorder other text: the same set as in the terminal's views. */
export const ACTING =
  /[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\ud80d[\udc30-\udc5f]|\ud82f[\udca0-\udca3]|\ud834[\udd73-\udd7a]|[\udb40-\udb43][\udc00-\udfff]/g;

/** Whether a text has any of them. */
export const ACTS = new RegExp(ACTING.source);

/** How an acting character is shown. */
export function escaped(found: string): string {
  const code = found.codePointAt(0)!;
  if (code === 9) return "→   ";
  if (code === 10) return "⏎";
  if (code < 32) return String.fromCharCode(0x2400 + code);
  if (code === 127) return "␡";
  return `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** `text` on one line, with every acting character visible, cut to `most` characters. */
export function oneLine(text: string, most = 200): string {
  let short = text.length > most ? text.slice(0, most - 1) : text;
  if (/[\ud800-\udbff]$/.test(short)) short = short.slice(0, -1);
  const shown = short.replace(ACTING, escaped).replace(/\n/g, "⏎");
  return text.length > most ? `${shown}…` : shown;
}

/** The readable part of a claim's key: many keys go on with other data after a separator. */
export function claimOf(key: string | undefined): string {
  return (key ?? "").split("\x1f")[0];
}

/** `text` with its line ends, and every other acting character visible. */
export function visible(text: string): string {
  return text.replace(ACTING, (found) => (found === "\n" ? found : escaped(found)));
}
