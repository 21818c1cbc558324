/**
 * What git's index of a pack and the pack itself say, read here: a process of its own for each question would cost more
 * than the question. gitformat-pack(5): packs of version 2, indexes of version 2, the only ones that git writes.
 */
import { open, type FileHandle } from "node:fs/promises";
import type { ObjectId } from "../protocol/ref-name.ts";

export type ObjectType = "commit" | "tree" | "blob" | "tag";

const headerBytes = 8;
const fanoutBytes = 256 * 4;
const crcBytes = 4;
const offsetBytes = 4;
/** An entry's type and size, and the place or the name of what it is a delta of, are no longer. */
const entryBytesMax = 64;
const types: Readonly<Record<number, ObjectType>> = { 1: "commit", 2: "tree", 3: "blob", 4: "tag" };
const offsetDelta = 6;
const nameDelta = 7;
/** git makes chains of 50, unless it is told otherwise; longer ones it is asked about. */
const chainMax = 50;
/** The longest size that git reads back (packfile.c, unpack_object_header_buffer), in bytes. */
const sizeBytesMax = 9;
/** Packs of more objects are not looked through. */
const lookedThroughMax = 5000;

/**
 * The types of those of the objects that this pack holds. `path` without ".pack". Throws what the file system throws,
 * and RangeError for a file cut short.
 */
export async function typesIn(path: string, oids: readonly ObjectId[]): Promise<Map<ObjectId, ObjectType>> {
  const index = await open(`${path}.idx`, "r");
  try {
    const pack = await open(`${path}.pack`, "r");
    try {
      const reader = new PackFiles(index, pack, await read(index, headerBytes, fanoutBytes));
      const found = new Map<ObjectId, ObjectType>();
      for (const oid of oids) {
        const offset = await reader.offsetOf(Buffer.from(oid, "hex"));
        const type = offset === undefined ? undefined : await reader.typeAt(offset, oid.length / 2);
        if (type !== undefined) found.set(oid, type);
      }
      return found;
    } finally {
      await pack.close();
    }
  } finally {
    await index.close();
  }
}

/**
 * Whether git can read every entry of a pack back. index-pack takes sizes that are written longer than any other part of
 * git reads, and so would let in objects that nobody can get. False also for packs that are too large to look through.
 */
export async function canBeReadBack(path: string, oidBytes: number): Promise<boolean> {
  const index = await open(`${path}.idx`, "r");
  try {
    const pack = await open(`${path}.pack`, "r");
    try {
      const total = (await read(index, headerBytes + fanoutBytes - 4, 4)).readUInt32BE();
      if (total > lookedThroughMax) return false;
      const place = headerBytes + fanoutBytes + total * (oidBytes + crcBytes);
      const offsets = await read(index, place, total * offsetBytes);
      for (let at = 0; at < offsets.length; at += offsetBytes) {
        const offset = offsets.readUInt32BE(at);
        if (offset >= 2 ** 31) return false;
        const entry = await read(pack, offset, sizeBytesMax);
        if (!entry.some((byte) => byte < 0x80)) return false;
      }
      return true;
    } finally {
      await pack.close();
    }
  } finally {
    await index.close();
  }
}

class PackFiles {
  readonly #index: FileHandle;
  readonly #pack: FileHandle;
  readonly #fanout: Buffer;

  constructor(index: FileHandle, pack: FileHandle, fanout: Buffer) {
    this.#index = index;
    this.#pack = pack;
    this.#fanout = fanout;
  }

  /** Where in the pack an object begins; undefined when it is not in it. */
  async offsetOf(oid: Buffer): Promise<number | undefined> {
    const [bucket = 0] = oid;
    const start = bucket === 0 ? 0 : this.#fanout.readUInt32BE((bucket - 1) * 4);
    const end = this.#fanout.readUInt32BE(bucket * 4);
    const total = this.#fanout.readUInt32BE(255 * 4);
    const names = headerBytes + fanoutBytes;
    for (let low = start, high = end; low < high;) {
      const middle = Math.floor((low + high) / 2);
      const order = oid.compare(await read(this.#index, names + middle * oid.length, oid.length));
      if (order < 0) high = middle;
      if (order > 0) low = middle + 1;
      if (order !== 0) continue;
      const offsets = names + total * (oid.length + crcBytes);
      const place = offsets + middle * offsetBytes;
      const offset = (await read(this.#index, place, offsetBytes)).readUInt32BE();
      if (offset < 2 ** 31) return offset;
      // The highest bit says that the rest is a place in the table of larger ones.
      const large = offsets + total * offsetBytes + (offset - 2 ** 31) * 8;
      return Number((await read(this.#index, large, 8)).readBigUInt64BE());
    }
    return undefined;
  }

  /** A delta is of the type of what it is a delta of. Undefined for what is no pack's entry. */
  async typeAt(offset: number, oidBytes: number): Promise<ObjectType | undefined> {
    let at = offset;
    for (let depth = 0; depth < chainMax; depth += 1) {
      const entry = Buffer.alloc(entryBytesMax);
      const { bytesRead } = await this.#pack.read(entry, 0, entryBytesMax, at);
      if (bytesRead === 0) throw new RangeError("the pack ends too early");
      const code = (entry.readUInt8(0) >> 4) & 7;
      const type = types[code];
      if (type !== undefined) return type;
      // After the bytes of the size, each but the last of which has its highest bit set.
      let place = 0;
      while (place < sizeBytesMax && entry.readUInt8(place) >= 0x80) place += 1;
      if (place === sizeBytesMax) return undefined;
      place += 1;
      if (code === offsetDelta) {
        at -= distanceAt(entry, place);
      } else if (code === nameDelta) {
        const base = await this.offsetOf(entry.subarray(place, place + oidBytes));
        if (base === undefined) return undefined;
        at = base;
      } else {
        return undefined;
      }
    }
    return undefined;
  }
}

/** How far before a delta its base is: seven bits a byte, and one more for each byte that follows. */
function distanceAt(entry: Buffer, start: number): number {
  let at = start;
  let distance = entry.readUInt8(at) & 0x7f;
  while (entry.readUInt8(at) >= 0x80) {
    at += 1;
    distance = (distance + 1) * 128 + (entry.readUInt8(at) & 0x7f);
  }
  return distance;
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
