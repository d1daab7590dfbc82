// Prints what the model of the page makes of runs. argv: the folder of the page; stdin: their compact forms, a JSON list.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [, , page] = process.argv;
const { build } = createRequire(join(page, "package.json"))("esbuild");
const { outputFiles } = await build({
  stdin: { contents: 'export * from "./src/model"; export * as state from "./src/state";', resolveDir: page, loader: "ts" },
  bundle: true,
  format: "esm",
  write: false,
});
// What state.ts takes from a browser when it is loaded.
Object.assign(globalThis, {
  location: { hash: "" },
  document: { getElementById: () => null, documentElement: { dataset: {} } },
  matchMedia: () => ({ matches: false, addEventListener() {} }),
  localStorage: { getItem: () => null, setItem() {} },
  addEventListener() {},
});
const { Run, labelledCase, state } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`);

/** Where the cursor is after the check was chosen, with the cursor at each moment before. */
function chosen(run, index, moments) {
  return moments.map((moment) => {
    state.run.value = run;
    state.moveTo(moment);
    state.select(index);
    return state.cursor.value?.moment ?? null;
  });
}

function facts(form) {
  const run = new Run(form);
  const moments = [...new Set([...run.number, ...run.others])].sort((x, y) => x - y);
  return {
    marks: run.marks,
    dead: run.dead,
    sentAtOnce: run.readerTimes().length,
    moments: moments.map((n) => ({
      number: n,
      text: run.textAt(n),
      written: run.written(n),
      sent: run.sent(n),
      proven: run.proven(n),
      cuts: run.cuts(n),
      outcomes: run.checks.map((check) => run.outcome(check, n)),
    })),
    checks: run.checks.map((check, index) => ({
      judged: run.judged(check),
      place: run.place(check),
      case: JSON.parse(labelledCase(run, check, false)),
      contested: JSON.parse(labelledCase(run, check, true)),
      chosen: chosen(run, index, moments),
    })),
    axis: moments.map((n) => run.time(n)),
    // From the axis back to the order: what the cursor shows at the place of each moment, by its index in `moments`.
    cursor: moments.map((n) => {
      state.run.value = run;
      state.scrub(run.time(n));
      return moments.filter((each) => each <= state.now.value).length - 1;
    }),
  };
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(facts)));
