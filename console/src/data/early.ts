/** The first answer of a page, which index.html asks for before the application itself is there. */

interface Early {
  readonly path: string;
  /** Undefined when it failed: then it is asked for as usual. */
  readonly answer: Promise<Response | undefined>;
}

declare global {
  var early: Early | undefined;
}

/** Undefined when this path was not asked for, or was taken: an answer is good for one time. */
export async function takeEarly(path: string): Promise<Response | undefined> {
  const { early } = globalThis;
  if (early?.path !== path) return undefined;
  globalThis.early = undefined;
  return early.answer;
}
