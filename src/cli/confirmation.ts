/** Asks the person at the terminal before something is done that cannot be undone. */
import { createInterface } from "node:readline/promises";
import { warn } from "./output.ts";

const words = {
  delete: { needs: "Deleting needs", ask: "to delete it", nothing: "Nothing was deleted." },
  adopt: { needs: "Adopting needs", ask: "to do this", nothing: "Nothing was changed." },
} as const;

/** True when the repository's name was typed. Throws one sentence where nobody can be asked. */
export async function confirmName(name: string, action: keyof typeof words): Promise<boolean> {
  const { needs, ask, nothing } = words[action];
  if (!process.stdin.isTTY) throw new Error(`${needs} --yes where nobody can be asked.`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  // Ctrl-D answers nothing.
  const ended = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
  const answer = await Promise.race([terminal.question(`Type the repository's name ${ask}: `), ended]);
  terminal.close();
  if (answer.trim() === name) return true;
  warn(nothing);
  return false;
}
