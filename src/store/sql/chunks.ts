/** Lists cut into pieces, so that no statement has more parameters than every engine takes. */

/** Keys in one IN list, rows of one insert. */
export const chunkRows = 500;

/** Successive pieces of at most `size`. */
export function* chunksOf<T>(items: readonly T[], size = chunkRows): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}
