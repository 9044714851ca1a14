/** Print the names of the scripts, of those in a JSON on stdin, whose second text is another program than the first. */
import { readFileSync } from "node:fs";
import { parse } from "acorn";

/** Return what a script does and on which line, whatever is said beside. @param {string} code */
const meant = (code) =>
  JSON.stringify(parse(code, { ecmaVersion: "latest", sourceType: "module", locations: true }), (name, value) =>
    name === "start" || name === "end" ? (typeof value === "object" ? value.line : undefined) : value,
  );

const scripts = Object.entries(JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify(scripts.filter(([, [one, other]]) => meant(one) !== meant(other)).map(([name]) => name)));
