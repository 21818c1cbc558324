/**
 * Ref names are bytes. In memory they are strings with one character (0 to 255) per byte ("latin1"), so that they
 * can be compared, sorted bytewise and used as keys without loss. `refNameText` is for people and JSON only.
 */
export type RefName = string;
/** Lower-case hex: 40 characters for sha1, 64 for sha256. */
export type ObjectId = string;

export function refNameFromBytes(bytes: Uint8Array): RefName {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

export function refNameToBytes(name: RefName): Buffer {
  return Buffer.from(name, "latin1");
}

/** A ref name given as ordinary text (JSON, flags). */
export function refNameFromText(text: string): RefName {
  return Buffer.from(text, "utf8").toString("latin1");
}

export function refNameText(name: RefName): string {
  return Buffer.from(name, "latin1").toString("utf8");
}
