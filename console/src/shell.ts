/** Words of command lines that people copy: a branch's name may hold what a shell would run. Pure. */

/** As one word for sh, whatever is in it. */
export function quoted(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
