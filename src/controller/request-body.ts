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

/** The whole of a body. Throws "too-large" as soon as it exceeds `bytesMax`. */
export async function wholeBody(body: AsyncIterable<Buffer>, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new GitmeshError("too-large", `the request is larger than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
