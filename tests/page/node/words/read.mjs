/** Print what the scripts of a folder say, as JSON: their tables of words, calls of t(), strings, properties and markup. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parse } from "acorn";

const folder = process.argv[2];
const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((each) => each.isFile() && each.name.endsWith(".js"))
  .map((each) => relative(folder, join(each.parentPath, each.name)))
  .sort();
const said = { tables: [], calls: [], strings: [], properties: [], markup: [] };

/** Something that is open: a value which is known only while the page runs. */
const OPEN = "\u0001";

/** Return the texts that an expression can be, with OPEN for their unknown parts; OPEN alone where it can be anything. */
function texts(node) {
  if (node.type === "Literal") return [String(node.value)];
  if (node.type === "TemplateLiteral") return [node.quasis.map((each) => each.value.cooked).join(OPEN)];
  if (node.type === "ConditionalExpression") return [...texts(node.consequent), ...texts(node.alternate)];
  if (node.type === "LogicalExpression") return node.operator === "&&" ? texts(node.right) : [...texts(node.left), ...texts(node.right)];
  if (node.type === "BinaryExpression" && node.operator === "+") return texts(node.left).flatMap((a) => texts(node.right).map((b) => a + b));
  return [OPEN];
}

/** Return the names of an object's values: null for none, OPEN among them where there may be others. */
function names(node) {
  if (!node) return null;
  if (node.type !== "ObjectExpression") return [OPEN];
  return node.properties.map((each) => (each.type === "Property" && !each.computed ? String(each.key.name ?? each.key.value) : OPEN));
}

function read(file) {
  const walk = (node) => {
    if (Array.isArray(node)) return node.forEach(walk);
    if (typeof node?.type !== "string") return;
    const line = node.loc.start.line;
    if (node.type === "ImportDeclaration" || node.type === "ImportExpression" || node.type === "ExportAllDeclaration") return;
    if (node.type === "CallExpression" && node.callee.type === "Identifier") {
      const [first, second] = node.arguments;
      if (node.callee.name === "t" && first) said.calls.push({ file, line, texts: texts(first), values: names(second) });
      if (node.callee.name === "add" && first?.type === "ObjectExpression") {
        for (const { key, value } of first.properties) said.tables.push({ file, line: key.loc.start.line, key: String(key.value ?? key.name), texts: (value.elements ?? []).flatMap(texts) });
        return;
      }
    }
    if (node.type === "TaggedTemplateExpression" && node.tag.name === "html") {
      said.markup.push({ file, line, text: node.quasi.quasis.map((each) => each.value.cooked).join(OPEN) });
      return walk(node.quasi.expressions);
    }
    if (node.type === "Property" && !node.computed) said.properties.push({ file, line, text: String(node.key.name ?? node.key.value) });
    if (node.type === "Literal" && typeof node.value === "string") said.strings.push({ file, line, text: node.value });
    if (node.type === "TemplateLiteral") said.strings.push({ file, line, text: texts(node)[0] });
    for (const [name, child] of Object.entries(node)) if (name !== "loc") walk(child);
  };
  walk(parse(readFileSync(join(folder, file), "utf8"), { ecmaVersion: "latest", sourceType: "module", locations: true }));
}

files.forEach(read);
process.stdout.write(JSON.stringify(said));
