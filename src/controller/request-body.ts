/** Bodies of git's requests: decoded (RFC 9110, Content-Encoding) and bounded. */
import type { IncomingMessage } from "node:http";
import { pipeline, type Readable } from "node:stream";
import { createGunzip, createInflate } from "node:zlib";
import { GitmeshError, messageOf } from "../base/errors.ts";

/**
 * The body as it was before its encoding. Its error is the client's: "bad-request" for one that does not decode, the
 * connection's own when the client goes away. Throws "unsupported-media-type" for an encoding that is not known.
 */
export function decodedBody(body: IncomingMessage): AsyncIterable<Buffer> {
  const encoding = (body.headers["content-encoding"] ?? "identity").trim().toLowerCase();
  switch (encoding) {
    case "identity":
      return body;
    case "gzip":
    case "x-gzip":
      return decodedBy(body, createGunzip());
    case "deflate":
      return decodedBy(body, createInflate());
    default:
      throw new GitmeshError(
        "unsupported-media-type",
        `Content-Encoding '${encoding}' is not understood: gzip, deflate or none is`,
      );
  }
}

async function* decodedBy(body: Readable, decoder: NodeJS.ReadWriteStream & Readable): AsyncGenerator<Buffer> {
  let clientLeft = false;
  body.on("error", () => {
    clientLeft = true;
  });
  // Errors come out of the decoder, which is read below.
  pipeline(body, decoder, () => {});
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (error) {
    if (clientLeft) throw error;
    throw new GitmeshError("bad-request", `the body does not decode: ${messageOf(error)}`, { cause: error });
  }
}

/** Memory that requests share. */
export class ByteBudget {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Throws "busy" when there is not so much left. */
  take(bytes: number): void {
    if (this.#bytes + bytes > this.#bytesMax) {
      throw new GitmeshError("busy", "the requests of fetches take all the memory that they may; try again shortly");
    }
    this.#bytes += bytes;
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** Runs `use` with the whole of a body, which counts in `budget` meanwhile. Throws "busy", and "too-large" beyond `bytesMax`. */
export async function withWholeBody<T>(
  body: AsyncIterable<Buffer>,
  bytesMax: number,
  budget: ByteBudget,
  use: (whole: Buffer) => Promise<T>,
): Promise<T> {
  let taken = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of body) {
      budget.take(chunk.length);
      taken += chunk.length;
      yield chunk;
    }
  }
  try {
    return await use(await wholeBody(counted(), bytesMax));
  } finally {
    budget.giveBack(taken);
  }
}

async function wholeBody(body: AsyncIterable<Buffer>, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new GitmeshError("too-large", `the request is larger than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
