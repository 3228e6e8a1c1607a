// Bundles the libraries of the page that `moegs export --html` writes into one script, with their licences and versions.
// The result is kept in the package, so that nobody needs node to export. To build it anew: npm ci && npm run build
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const target = new URL("../../moegs_ns/exporting/web/", import.meta.url);
// fflate comes inside Spark's own bundle.
const libraries = ["@sparkjsdev/spark", "three", "fflate"];

// Spark 0.1.10 goes back to older Gaussians when a sort of these ends after newer ones are already displayed, and stays
// there: a player's last frame would not be the one asked for. This lets it go forwards only.
const stale = {
  file: /spark\.module\.js$/,
  before: "if (!displayed && accumulator !== this.display.accumulator) {",
  after: "if (!displayed && accumulator.splatsVersion > this.display.accumulator.splatsVersion) {",
};
const patch = {
  name: "patch",
  setup(bundler) {
    bundler.onLoad({ filter: stale.file }, ({ path }) => {
      const parts = readFileSync(path, "utf8").split(stale.before);
      if (parts.length !== 2) throw new Error(`expected one place to mend in ${path}, found ${parts.length - 1}`);
      return { contents: parts.join(stale.after), loader: "js" };
    });
  },
};

const result = await build({
  entryPoints: ["entry.js"],
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "SplatViewer",
  target: "es2022",
  charset: "ascii",
  legalComments: "none", // all licences are written out below
  plugins: [patch],
  write: false,
});
const script = result.outputFiles[0].contents;

const packages = libraries.map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  if (license !== "MIT") throw new Error(`expected the MIT licence of ${name}, found ${license}; read it before shipping`);
  return { name, version, license };
});
const licences = packages.map(({ name, version }) => {
  const text = readFileSync(`node_modules/${name}/LICENSE`, "utf8").replaceAll("\r", "").trim();
  return `${name} ${version}\n\n${text}\n`;
});

const compressed = gzipSync(script, { level: 9 });
compressed[9] = 255; // the system it was made on, which is nobody's business
writeFileSync(new URL("viewer.js.gz", target), compressed);
writeFileSync(new URL("viewer_licences.txt", target), licences.join("\n" + "-".repeat(80) + "\n\n"));
const sha256 = createHash("sha256").update(script).digest("hex");
writeFileSync(
  new URL("viewer.json", target),
  JSON.stringify({ packages, script_bytes: script.length, script_sha256: sha256 }, null, 2) + "\n",
);
console.log(`${script.length} bytes of script, ${compressed.length} compressed`);
