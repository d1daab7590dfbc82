// Draws the lanes: requests, forks, a lane for each monitor, and the written text against the frontier.

import { duration } from "./format";
import { kind, type Run } from "./model";

export const GUTTER = 136;
const LANE = 20;
const PLOT = 104;
const AXIS = 20;
const PAD = 6;
export const RIGHT = 16;
/** With more checks than this in a lane, passes are drawn as bars of their number. */
const MANY = 240;
const GAP = 0.02;
export const STRIP = 2 * LANE;
/** The height of the picture of two runs. */
export const PAIR = 2 * (STRIP + PAD) + PAD + AXIS;

interface Colours {
  fg: string;
  dim: string;
  line: string;
  bg: string;
  stream: string;
  streamText: string;
  wait: string;
  pass: string;
  violation: string;
  unknown: string;
  open: string;
  quiet: string;
  ours: string;
  band: string;
}

function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(`--${name}`).trim() || "CanvasText";
  return {
    fg: read("fg"),
    dim: read("dim"),
    line: read("line"),
    bg: read("bg"),
    stream: read("stream"),
    streamText: read("on-stream"),
    wait: read("wait"),
    pass: read("ok"),
    violation: read("bad"),
    unknown: read("unk"),
    open: read("dim"),
    quiet: read("faint"),
    ours: read("our"),
    band: read("band"),
  };
}

export interface Lane {
  name: string;
  kind: "stream" | "forks" | "monitor" | "reader";
  monitor: number;
}

export function lanesOf(run: Run): Lane[] {
  const lanes: Lane[] = [{ name: "stream", kind: "stream", monitor: -1 }];
  if (run.data.forks?.length) lanes.push({ name: "forks", kind: "forks", monitor: -1 });
  (run.data.monitors ?? []).forEach((monitor, index) => lanes.push({ name: monitor.name, kind: "monitor", monitor: index }));
  lanes.push({ name: "reader waits", kind: "reader", monitor: -1 });
  return lanes;
}

export function heightOf(run: Run): number {
  return PAD + lanesOf(run).length * LANE + PAD + PLOT + AXIS;
}

export class LanePicture {
  private width = 0;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly run: Run,
    /** The time at the right end. */
    private readonly end = run.end,
  ) {}

  x(t: number): number {
    return GUTTER + ((this.width - GUTTER - RIGHT) * t) / this.end;
  }

  time(x: number): number {
    const share = (x - GUTTER) / Math.max(1, this.width - GUTTER - RIGHT);
    return Math.max(0, Math.min(this.end, share * this.end));
  }

  /** The top of the lane with number `index`. */
  laneTop(index: number): number {
    return PAD + index * LANE;
  }

  draw(width: number, only: string | null, selected: number): void {
    const { canvas, run } = this;
    const height = heightOf(run);
    const scale = devicePixelRatio || 1;
    this.width = width;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
    const g = canvas.getContext("2d")!;
    const c = colours();
    g.scale(scale, scale);
    g.clearRect(0, 0, width, height);
    g.font = "12px system-ui, sans-serif";
    g.textBaseline = "middle";
    const lanes = lanesOf(run);
    this.grid(g, c, lanes.length);
    g.save();
    g.beginPath();
    g.rect(GUTTER - 2, 0, width - GUTTER + 2, height);
    g.clip();
    lanes.forEach((lane, index) => {
      const top = this.laneTop(index);
      if (lane.kind === "stream") this.requests(g, c, top);
      else if (lane.kind === "forks") this.forks(g, c, top);
      else if (lane.kind === "monitor") this.monitor(g, c, top, lane.monitor, only, selected);
      else this.reader(g, c, top);
    });
    this.plot(g, c, PAD + lanes.length * LANE + PAD);
    this.cuts(g, c, height - AXIS);
    g.restore();
    this.labels(g, c, lanes);
    this.axis(g, c, height);
  }

  /** Draw the requests, the checks of all monitors and the cuts as two lanes, from `top` on. */
  strip(g: CanvasRenderingContext2D, width: number, top: number, name: string, selected: number): void {
    const { run } = this;
    const c = colours();
    this.width = width;
    g.font = "12px system-ui, sans-serif";
    g.textBaseline = "middle";
    g.fillStyle = c.dim;
    g.fillText(fitting(g, name), 14, top + LANE / 2);
    g.save();
    g.beginPath();
    g.rect(GUTTER - 2, top, width - GUTTER + 2, STRIP);
    g.clip();
    this.requests(g, c, top);
    (run.data.monitors ?? []).forEach((_, index) => this.monitor(g, c, top + LANE, index, null, selected));
    this.cuts(g, c, top + STRIP, top);
    g.restore();
  }

  private grid(g: CanvasRenderingContext2D, c: Colours, lanes: number): void {
    g.fillStyle = c.line;
    g.globalAlpha = 0.55;
    for (let i = 0; i <= lanes; i++) g.fillRect(GUTTER, this.laneTop(i) - 0.5, this.width - GUTTER - RIGHT, 0.5);
    g.globalAlpha = 1;
  }

  private labels(g: CanvasRenderingContext2D, c: Colours, lanes: Lane[]): void {
    g.fillStyle = c.dim;
    lanes.forEach((lane, index) => {
      g.fillText(fitting(g, lane.name), 14, this.laneTop(index) + LANE / 2);
    });
    const top = PAD + lanes.length * LANE + PAD + 12;
    const rows: [string, string, string][] = [
      ["written", c.stream, "line"],
      ["frontier", c.pass, "line"],
      ["not proven yet", c.band, "box"],
    ];
    rows.forEach(([name, colour, shape], i) => {
      const y = top + i * 18;
      g.fillStyle = colour;
      if (shape === "line") g.fillRect(14, y - 1, 12, 2);
      else g.fillRect(14, y - 5, 12, 10);
      g.fillStyle = c.dim;
      g.fillText(name, 32, y);
    });
  }

  private requests(g: CanvasRenderingContext2D, c: Colours, top: number): void {
    const { run } = this;
    const bar = (a: number, b: number, colour: string) => {
      g.fillStyle = colour;
      g.fillRect(this.x(a), top + 3, Math.max(1, this.x(b) - this.x(a)), LANE - 6);
    };
    const write = (a: number, b: number, text: string, colour: string) => {
      const room = this.x(b) - this.x(a) - 10;
      if (room < g.measureText(text).width) return false;
      g.fillStyle = colour;
      g.fillText(text, Math.max(this.x(a), GUTTER) + 5, top + LANE / 2);
      return true;
    };
    (run.data.requests ?? []).forEach((request, index) => {
      const sent = request.sent ?? request.accepted ?? 0;
      const ended = request.ended ?? run.end;
      const first = Math.min(request.first ?? ended, ended);
      bar(sent, first, c.wait);
      for (const text of index ? ["the server reads the prefix again", "prefix again"] : ["waits for the first token", "waits"]) if (write(sent, first, text, c.fg)) break;
      if (request.first === undefined) return;
      bar(first, ended, request.how === "broken" || request.how === "refused" ? c.violation : c.stream);
      const long = `request ${index + 1}${request.resume ? ` · by ${request.resume}` : ""}`;
      const fits = g.measureText(long).width <= this.x(ended) - this.x(first) - 10;
      write(first, ended, fits ? long : `request ${index + 1}`, c.streamText);
    });
  }

  private forks(g: CanvasRenderingContext2D, c: Colours, top: number): void {
    for (const fork of this.run.data.forks ?? []) {
      const began = fork.began ?? fork.ordered ?? 0;
      const ended = fork.ended ?? this.run.end;
      g.fillStyle = fork.outcome === "error" || fork.outcome === "timed_out" ? c.violation : c.ours;
      g.globalAlpha = fork.outcome === "cancelled" || fork.outcome === "skipped" ? 0.35 : 0.8;
      g.fillRect(this.x(began), top + 5, Math.max(1.5, this.x(ended) - this.x(began)), LANE - 10);
      g.globalAlpha = 1;
    }
  }

  private monitor(g: CanvasRenderingContext2D, c: Colours, top: number, monitor: number, only: string | null, selected: number): void {
    const { run } = this;
    const mine: number[] = [];
    run.checks.forEach((check, index) => {
      if (check && (check.monitor ?? 0) === monitor) mine.push(index);
    });
    const many = mine.length > MANY;
    const middle = top + LANE / 2;
    if (many) {
      const bins = new Float64Array(Math.ceil((this.width - GUTTER) / 3) + 1);
      let most = 1;
      for (const index of mine) {
        const check = run.checks[index];
        if (check.outcome !== "pass" || (only && only !== "pass")) continue;
        const bin = Math.floor((this.x(check.ended ?? check.ordered ?? 0) - GUTTER) / 3);
        if (bin >= 0 && bin < bins.length) most = Math.max(most, ++bins[bin]);
      }
      g.fillStyle = c.pass;
      bins.forEach((n, bin) => {
        const tall = n ? Math.max(2, ((LANE - 6) * n) / most) : 0;
        if (tall) g.fillRect(GUTTER + bin * 3, top + LANE - 3 - tall, 2, tall);
      });
    }
    for (const index of mine) {
      const check = run.checks[index];
      const outcome = check.outcome ?? "open";
      if ((only && only !== outcome) || (many && outcome === "pass" && index !== selected)) continue;
      const begin = this.x(check.ordered ?? 0);
      const x = this.x(check.ended ?? run.end);
      const name = kind(outcome);
      g.fillStyle = g.strokeStyle = c[name as "pass"];
      if (x - begin > 3) {
        g.globalAlpha = 0.3;
        g.fillRect(begin, middle - 3, x - begin, 6);
        g.globalAlpha = 1;
      }
      if (name === "violation") {
        g.lineWidth = 2;
        g.beginPath();
        g.moveTo(x - 4, middle - 4);
        g.lineTo(x + 4, middle + 4);
        g.moveTo(x + 4, middle - 4);
        g.lineTo(x - 4, middle + 4);
        g.stroke();
      } else if (name === "pass") g.fillRect(x - 0.75, middle - 5, 1.5, 10);
      else if (name === "quiet") g.fillRect(x - 0.75, middle - 2, 1.5, 4);
      else {
        g.beginPath();
        g.arc(x, middle, 3, 0, Math.PI * 2);
        if (name === "open") g.stroke();
        else g.fill();
      }
      if (index === selected) {
        g.strokeStyle = c.fg;
        g.lineWidth = 1.5;
        g.beginPath();
        g.arc(x, middle, 7.5, 0, Math.PI * 2);
        g.stroke();
      }
    }
  }

  /** The times in which nothing reached the reader. */
  private reader(g: CanvasRenderingContext2D, c: Colours, top: number): void {
    const { run } = this;
    const times = run.readerTimes();
    const least = Math.max(run.end * GAP, 100_000);
    let before = 0;
    const draw = (a: number, b: number) => {
      g.fillStyle = c.unknown;
      g.globalAlpha = 0.75;
      g.fillRect(this.x(a), top + LANE / 2 - 2, Math.max(1, this.x(b) - this.x(a)), 4);
      g.globalAlpha = 1;
      const text = duration(b - a);
      if (this.x(b) - this.x(a) > g.measureText(text).width + 14) {
        const at = (this.x(a) + this.x(b)) / 2 - g.measureText(text).width / 2;
        g.fillStyle = c.bg;
        g.fillRect(at - 4, top + 3, g.measureText(text).width + 8, LANE - 6);
        g.fillStyle = c.dim;
        g.fillText(text, at, top + LANE / 2);
      }
    };
    for (let i = 0; i < times.length; i++) {
      if (times[i] - before > least) draw(before, times[i]);
      before = times[i];
    }
    if (run.over && run.end - before > least) draw(before, run.end);
  }

  private plot(g: CanvasRenderingContext2D, c: Colours, top: number): void {
    const { run } = this;
    const base = top + PLOT - 8;
    let most = 1;
    for (let i = 0; i < run.count; i++) if (run.length[i] > most) most = run.length[i];
    const y = (length: number) => base - ((PLOT - 16) * length) / most;
    // One pair of values for each pixel: the last in it.
    const left = Math.max(GUTTER, this.x(0));
    const right = Math.min(this.width - RIGHT, this.x(run.end));
    const columns = Math.max(1, Math.ceil(right - left));
    const written = new Float64Array(columns + 1);
    const proven = new Float64Array(columns + 1);
    for (let px = 0; px <= columns; px++) {
      const moment = run.moment(this.time(left + px));
      written[px] = run.written(moment);
      proven[px] = run.proven(moment);
    }
    g.fillStyle = c.line;
    g.fillRect(left, base, right - left, 0.75);
    g.fillStyle = c.band;
    g.beginPath();
    for (let px = 0; px <= columns; px++) g.lineTo(left + px, y(written[px]));
    for (let px = columns; px >= 0; px--) g.lineTo(left + px, y(proven[px]));
    g.fill();
    const stroke = (values: Float64Array, colour: string, wide: number) => {
      g.strokeStyle = colour;
      g.lineWidth = wide;
      g.lineJoin = "round";
      g.beginPath();
      for (let px = 0; px <= columns; px++) g.lineTo(left + px, y(values[px]));
      g.stroke();
    };
    stroke(proven, c.pass, 2);
    stroke(written, c.stream, 1.5);
  }

  private cuts(g: CanvasRenderingContext2D, c: Colours, bottom: number, top = PAD): void {
    g.strokeStyle = c.violation;
    g.lineWidth = 1;
    g.setLineDash([2, 3]);
    for (const cut of this.run.data.cuts ?? []) {
      const x = Math.round(this.x(cut.at)) + 0.5;
      g.beginPath();
      g.moveTo(x, top);
      g.lineTo(x, bottom);
      g.stroke();
    }
    g.setLineDash([]);
  }

  /** Draw the axis at the lower end of a picture of this height. */
  axis(g: CanvasRenderingContext2D, c: Colours, height: number): void {
    const to = this.end;
    const room = Math.max(1, Math.floor((this.width - GUTTER - RIGHT) / 96));
    const step = nice(to / room);
    g.fillStyle = c.dim;
    g.textAlign = "center";
    for (let t = 0; t <= to; t += step) {
      const x = this.x(t);
      const text = duration(t).replace(/(\.\d*?)0+(?= )/, "$1").replace(/\.(?= )/, "");
      const half = g.measureText(text).width / 2;
      g.fillRect(x, height - AXIS, 0.75, 4);
      if (x + half < this.width - 4) g.fillText(text, Math.max(x, GUTTER + half - 2), height - 8);
    }
    g.textAlign = "left";
  }
}

/** Draw two runs on one axis of time. Returns the picture of each. */
export function drawPair(canvas: HTMLCanvasElement, runs: [Run, Run], width: number, selected: [number, number]): [LanePicture, LanePicture] {
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(PAIR * scale);
  canvas.style.height = `${PAIR}px`;
  const g = canvas.getContext("2d")!;
  g.scale(scale, scale);
  const end = Math.max(runs[0].end, runs[1].end);
  const made: [LanePicture, LanePicture] = [new LanePicture(canvas, runs[0], end), new LanePicture(canvas, runs[1], end)];
  const twins = runs.some((run) => run.data.rechecked !== undefined);
  made.forEach((picture, side) => picture.strip(g, width, stripTop(side), runs[side].data.rechecked ?? (twins ? "as recorded" : runs[side].title), selected[side]));
  made[0].axis(g, colours(), PAIR);
  return made;
}

/** The top of the strip of a side. */
export const stripTop = (side: number): number => PAD + side * (STRIP + PAD);

function fitting(g: CanvasRenderingContext2D, text: string): string {
  let name = text.replace(/[^\x20-\x7e\u00a1-\u024f]/g, "·");
  while (name.length > 3 && g.measureText(name).width > GUTTER - 26) name = `${name.slice(0, -2)}…`;
  return name;
}

function nice(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  for (const factor of [1, 2, 5, 10]) if (power * factor >= least) return power * factor;
  return power * 10;
}
