/**
 * The beginning of a replica's answer to a fetch, up to its first objects: until then the client has nothing that another
 * replica's answer would contradict, so a replica that finds out that it lacks or cannot read objects is passed over.
 */
import type { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";

/** What comes before the objects is a few acknowledgments and words of progress. */
const beginningBytesMax = 64 * 1024;
/** A client that waits longer wants to see the progress. */
const beginningMs = 3000;

export interface FetchBeginning {
  /** To be passed on before the rest. */
  readonly bytes: Buffer;
  /** refused: it does not have what is wanted. broken: it cannot read its own objects. */
  readonly kind: "good" | "refused" | "broken";
}

/** Rejects when the answer breaks off before its first byte. */
export async function readBeginning(answer: Readable, clock: Clock): Promise<FetchBeginning> {
  const late = new AbortController();
  const cancel = clock.timer(beginningMs, () => late.abort());
  try {
    for (let bytes = Buffer.alloc(0); ;) {
      await readable(answer, bytes.length > 0 ? late.signal : undefined);
      const chunk = answer.read() as Buffer | null;
      if (chunk !== null) bytes = Buffer.concat([bytes, chunk]);
      const kind = judge(bytes);
      if (kind !== undefined) return { bytes, kind };
      if (answer.readableEnded || late.signal.aborted || bytes.length > beginningBytesMax)
        return { bytes, kind: "good" };
    }
  } finally {
    cancel();
  }
}

/** Undefined: what is there does not say yet. */
function judge(bytes: Buffer): FetchBeginning["kind"] | undefined {
  for (let at = 0; at + 4 <= bytes.length;) {
    const digits = bytes.toString("latin1", at, at + 4);
    // No pkt-line: the objects themselves, of a client that wants no side band.
    if (!/^[0-9a-f]{4}$/i.test(digits)) return "good";
    const length = Number.parseInt(digits, 16);
    if (length < 4) {
      at += 4;
      continue;
    }
    if (at + Math.min(length, 80) > bytes.length) return undefined;
    const data = bytes.subarray(at + 4, at + length);
    if (data[0] === 1) return "good";
    const text = data.toString("latin1");
    // As upload-pack.c says it.
    if (text.startsWith("ERR upload-pack: not our ref")) return "refused";
    if (data[0] === 3) return text.includes("possible repository corruption") ? "broken" : "good";
    at += length;
  }
  return undefined;
}

/** Resolves when there is something to read, at the end, or when the signal aborts; rejects when the stream fails. */
function readable(stream: Readable, signal: AbortSignal | undefined): Promise<void> {
  if (stream.readableLength > 0 || stream.readableEnded || signal?.aborted === true) return Promise.resolve();
  const broken = (): Error => stream.errored ?? new Error("the answer broke off before its first objects");
  // Between two looks: its events are over.
  if (stream.destroyed) return Promise.reject(broken());
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      stream.off("readable", ready).off("end", ready).off("error", settle).off("close", closed);
      signal?.removeEventListener("abort", ready);
      if (error === undefined) resolve();
      else reject(error);
    };
    const ready = (): void => settle();
    const closed = (): void => {
      if (stream.readableEnded) settle();
      else settle(broken());
    };
    stream.on("readable", ready).on("end", ready).on("error", settle).on("close", closed);
    signal?.addEventListener("abort", ready, { once: true });
  });
}
