// Bundles the page into ../_page.html: one file with its style and script, which loads nothing.
//   node build.mjs            writes it
//   node build.mjs --check    compares it with what is there
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "_page.html");
const MOST = 80_000;

const made = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.tsx"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "ascii",
  write: false,
  outdir: "out",
});
const text = (end) => made.outputFiles.find((file) => file.path.endsWith(end)).text.trim();
const script = text(".js");
const style = text(".css");
if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style)) throw new Error("the bundle must not end its own element");
const template = readFileSync(join(here, "page.html"), "utf8");
// Functions, because a string would have its $ signs read.
const page = template.replace("@STYLE@", () => style).replace("@SCRIPT@", () => script);
const size = gzipSync(page, { level: 9 }).length;
if (size > MOST) throw new Error(`the page must have at most ${MOST} bytes with gzip, and has ${size}`);
if (process.argv.includes("--check")) {
  if (readFileSync(target, "utf8") !== page) {
    console.error("error: interwhen/view/_page.html must be the bundle of interwhen/view/page, and is not; run: npm run build");
    process.exit(1);
  }
} else writeFileSync(target, page);
console.log(`${size} bytes with gzip`);
