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

/** Longest path component: a file name of 255 bytes less the room for git's ".lock". */
const componentBytesMax = 250;
/** What every store can index. */
export const refNameBytesMax = 1000;

/**
 * Why git would not take this name as a ref, or undefined when it would: the rules of git-check-ref-format(1), and what
 * receive-pack demands besides, "refs/" in front and then two components at least (refs/stash is not pushed).
 * The lengths are ours: what every file system and every store can keep.
 */
export function checkRefName(name: RefName): string | undefined {
  if (!name.startsWith("refs/")) return "does not begin with refs/";
  if (name.length > refNameBytesMax) return `is longer than ${refNameBytesMax} bytes`;
  if (name.endsWith(".")) return "ends with a dot";
  if (name.includes("..")) return "has two dots in a row";
  if (name.includes("@{")) return "contains @{";
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u0020\u007f~^:?*[\\]/.test(name)) return "contains a character that git forbids";
  const components = name.split("/");
  if (components.length < 3) return "has one component only after refs/";
  for (const component of components) {
    if (component === "") return "has an empty component";
    if (component.startsWith(".")) return "has a component that begins with a dot";
    if (component.endsWith(".lock")) return "has a component that ends with .lock";
    if (component.length > componentBytesMax) return `has a component longer than ${componentBytesMax} bytes`;
  }
  return undefined;
}

/** Length of an object id in hex digits. */
export function objectIdLength(objectFormat: "sha1" | "sha256"): number {
  return objectFormat === "sha1" ? 40 : 64;
}

export function zeroOid(objectFormat: "sha1" | "sha256"): ObjectId {
  return "0".repeat(objectIdLength(objectFormat));
}

export function isZeroOid(oid: ObjectId): boolean {
  return /^0+$/.test(oid);
}

export function isObjectId(text: string, objectFormat: "sha1" | "sha256"): boolean {
  return text.length === objectIdLength(objectFormat) && /^[0-9a-f]+$/.test(text);
}
