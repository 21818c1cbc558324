/**
 * Leaves out of a style sheet what no element can match: rules whose classes occur nowhere in the application. Bootstrap is
 * made for every page that there may be; ours uses a fifth of it, and a browser shows nothing before all of it is read.
 */

/** Blocks that have rules in them. */
const grouping = /^@(?:media|supports|container|layer)\b/;

/** `isUsed`: whether a class may be in the page. The style sheet is a minified one, without comments and nested rules. */
export function withoutUnused(css: string, isUsed: (name: string) => boolean): string {
  let kept = "";
  for (let at = 0; at < css.length;) {
    const end = endOf(css, at);
    const open = css.indexOf("{", at);
    if (open < 0 || open > end) {
      kept += css.slice(at, end + 1);
    } else {
      const head = css.slice(at, open).trim();
      const body = css.slice(open + 1, end);
      if (grouping.test(head)) {
        const inner = withoutUnused(body, isUsed);
        if (inner !== "") kept += `${head}{${inner}}`;
      } else if (head.startsWith("@")) {
        kept += css.slice(at, end + 1);
      } else {
        const selectors = selectorsOf(head).filter((selector) => classesOf(selector).every(isUsed));
        if (selectors.length > 0) kept += `${selectors.join(",")}{${body}}`;
      }
    }
    at = end + 1;
  }
  return kept;
}

/** Where the statement ends that begins at `start`: at its semicolon, or at the brace that closes its block. */
function endOf(css: string, start: number): number {
  let depth = 0;
  let quote = "";
  for (let at = start; at < css.length; at += 1) {
    const character = css.charAt(at);
    if (character === "\\") at += 1;
    else if (quote !== "") quote = character === quote ? "" : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === "{") depth += 1;
    else if (character === "}") {
      depth -= 1;
      if (depth <= 0) return at;
    } else if (character === ";" && depth === 0) return at;
  }
  return css.length - 1;
}

function selectorsOf(head: string): string[] {
  const selectors = [""];
  let depth = 0;
  for (const character of head) {
    if (character === "(" || character === "[") depth += 1;
    if (character === ")" || character === "]") depth -= 1;
    if (character === "," && depth === 0) selectors.push("");
    else selectors[selectors.length - 1] += character;
  }
  return selectors;
}

/** That an element must have; what is in :not() and its like is left to the browser. */
function classesOf(selector: string): string[] {
  const plain = selector.replaceAll(/:(?:not|is|where|has)\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\]/g, "");
  return [...plain.matchAll(/\.((?:[\w-]|\\.)+)/g)].map(([, name = ""]) => name.replaceAll("\\", ""));
}
