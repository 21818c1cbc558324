/** Repository names: what is one, and how one is read out of a URL. */
import { GitmeshError } from "../base/errors.ts";

const nameCharactersMax = 255;
const partCharactersMax = 100;

/**
 * The name itself if it is one. Throws GitmeshError "bad-repository-name" with the reason otherwise.
 *
 * Invariant: a name has no empty, "." or ".." part, and no character that means something to a shell, a URL or a path
 * but "/" between its parts.
 */
export function parseRepositoryName(text: string): string {
  const refuse = (reason: string): never => {
    throw new GitmeshError("bad-repository-name", reason);
  };
  if (text === "") refuse("the name is empty");
  if (text.length > nameCharactersMax) refuse(`the name is longer than ${nameCharactersMax} characters`);
  const parts = text.split("/");
  for (const part of parts) {
    if (part === "") refuse("a part of the name is empty");
    if (!/^[A-Za-z0-9._-]+$/.test(part))
      refuse("a part of the name has other characters than letters, digits, '.', '_', '-'");
    if (part.startsWith(".") || part.startsWith("-")) refuse("a part of the name begins with '.' or '-'");
    if (/\.(?:git|lock)$/i.test(part)) refuse("a part of the name ends with '.git' or '.lock'");
    if (part.length > partCharactersMax) refuse(`a part of the name is longer than ${partCharactersMax} characters`);
  }
  if (/^_[a-z]+(?:-[a-z]+)*$/.test(parts.at(-1) ?? ""))
    refuse("the last part of the name is reserved for actions, as in '_delete'");
  return text;
}

/**
 * The name in the path of a clone URL, as it came (still percent-encoded), with or without ".git". Only plain
 * characters may be encoded: anything else would let a name mean one thing here and another elsewhere.
 */
export function repositoryNameFromUrlPath(path: string): string {
  const decoded = path.replaceAll(/%([0-9A-Fa-f]{2})/g, (whole, digits: string) => {
    const character = String.fromCharCode(Number.parseInt(digits, 16));
    return /[A-Za-z0-9._-]/.test(character) ? character : whole;
  });
  return parseRepositoryName(decoded.replace(/\.git$/, ""));
}
