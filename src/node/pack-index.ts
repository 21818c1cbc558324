/**
 * What git's index of a pack says, read here: a process of its own for each question would cost more than the
 * question. Version 2 of gitformat-pack(5), the only one that git writes.
 */
import { open, type FileHandle } from "node:fs/promises";
import type { ObjectId } from "../protocol/ref-name.ts";

const headerBytes = 8;
const fanoutBytes = 256 * 4;
const crcBytes = 4;
const offsetBytes = 4;
const typeCommit = 1;

/**
 * Those of the objects that this pack holds as whole commits; one that is held as a delta, and every other type, is not
 * among them. `path` without ".pack". Throws what the file system throws, and RangeError for a file cut short.
 */
export async function commitsIn(path: string, oids: readonly ObjectId[]): Promise<Set<ObjectId>> {
  const found = new Set<ObjectId>();
  const index = await open(`${path}.idx`, "r");
  try {
    const pack = await open(`${path}.pack`, "r");
    try {
      const fanout = await read(index, headerBytes, fanoutBytes);
      for (const oid of oids) {
        const offset = await offsetOf(index, fanout, Buffer.from(oid, "hex"));
        if (offset === undefined) continue;
        const [first = 0] = await read(pack, offset, 1);
        if (((first >> 4) & 7) === typeCommit) found.add(oid);
      }
    } finally {
      await pack.close();
    }
  } finally {
    await index.close();
  }
  return found;
}

/** Where in the pack an object begins; undefined when it is not in it, or beyond 2 GiB. */
async function offsetOf(index: FileHandle, fanout: Buffer, oid: Buffer): Promise<number | undefined> {
  const [bucket = 0] = oid;
  const start = bucket === 0 ? 0 : fanout.readUInt32BE((bucket - 1) * 4);
  const end = fanout.readUInt32BE(bucket * 4);
  const total = fanout.readUInt32BE(255 * 4);
  const names = headerBytes + fanoutBytes;
  const part = await read(index, names + start * oid.length, (end - start) * oid.length);
  for (let at = 0; at < part.length; at += oid.length) {
    if (oid.compare(part, at, at + oid.length) !== 0) continue;
    const offsets = names + total * (oid.length + crcBytes);
    const place = start + at / oid.length;
    const offset = (await read(index, offsets + place * offsetBytes, offsetBytes)).readUInt32BE();
    // The highest bit says that the offset is in a table of larger ones.
    return offset < 2 ** 31 ? offset : undefined;
  }
  return undefined;
}

async function read(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let bytes = 0;
  while (bytes < length) {
    const { bytesRead } = await file.read(buffer, bytes, length - bytes, position + bytes);
    if (bytesRead === 0) throw new RangeError("the file ends too early");
    bytes += bytesRead;
  }
  return buffer;
}
