/** Byte streams for tests. */

/** The bytes in chunks of the given sizes, over and over; one chunk when there are none. */
export async function* inChunks(bytes: Uint8Array, sizes: readonly number[] = []): AsyncGenerator<Buffer> {
  const whole = Buffer.from(bytes);
  let start = 0;
  for (let index = 0; start < whole.length; index += 1) {
    const size = sizes[index % sizes.length] ?? whole.length;
    yield whole.subarray(start, start + size);
    start += size;
  }
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source));
}
