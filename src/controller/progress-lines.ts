/** Reads a node's long answer (protocol/node-api.ts ProgressLine) to its result. */
import { NodeCallError } from "./node-call-error.ts";

/** A stage result has one entry per ref; a list of the largest size allowed stays well below this. */
const lineBytesMax = 64 * 1024 * 1024;

/**
 * Gives progress texts to `onProgress` and returns the result line's value, unparsed.
 * Throws NodeCallError when the answer ends without one.
 */
export async function readProgressLines(
  body: AsyncIterable<Uint8Array>,
  onProgress: (text: string) => void,
): Promise<unknown> {
  let parts: Uint8Array[] = [];
  let partsBytes = 0;
  let result: { readonly value: unknown } | undefined;
  for await (let chunk of body) {
    for (;;) {
      const newline = chunk.indexOf(0x0a);
      if (newline < 0) break;
      parts.push(chunk.subarray(0, newline));
      const line = parseLine(Buffer.concat(parts));
      parts = [];
      partsBytes = 0;
      chunk = chunk.subarray(newline + 1);
      // Read on to the end, so that the connection can be used again.
      if ("result" in line) result = { value: line["result"] };
      if (typeof line["progress"] === "string") onProgress(line["progress"]);
    }
    partsBytes += chunk.length;
    if (partsBytes > lineBytesMax) throw new NodeCallError("an answer line that is too long", { unreachable: false });
    if (chunk.length > 0) parts.push(chunk);
  }
  if (result !== undefined) return result.value;
  throw new NodeCallError("the answer ended without a result", { unreachable: true });
}

function parseLine(bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below, as everything else that is no object.
  }
  throw new NodeCallError("an answer line that is not JSON", { unreachable: false });
}
