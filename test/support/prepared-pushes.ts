/** Pushes of one small commit each, made without git, so that many of them cost the machine little besides the cluster. */
import { createHash } from "node:crypto";
import { deflateSync } from "node:zlib";

export interface PreparedPush {
  readonly ref: string;
  /** Undefined: the ref is new. */
  readonly old: string | undefined;
  readonly oid: string;
  readonly pack: Buffer;
}

/** Commits on top of each other without end, all with this tree; the first one's parent is `parent`. */
export function* preparePacks(ref: string, parent: string, tree: string): Generator<PreparedPush, never> {
  let tip = parent;
  for (let number = 1; ; number += 1) {
    const who = `A Committer <committer@example.com> ${1_700_000_000 + number} +0000`;
    const commit = Buffer.from(
      `tree ${tree}\nparent ${tip}\nauthor ${who}\ncommitter ${who}\n\n${ref} ${number}\n`,
      "latin1",
    );
    const oid = createHash("sha1").update(`commit ${commit.length}\0`).update(commit).digest("hex");
    yield { ref, old: number === 1 ? undefined : tip, oid, pack: packOf(commit) };
    tip = oid;
  }
}

/** A pack of one commit, as gitformat-pack(5) has it. */
function packOf(commit: Buffer): Buffer {
  const header = Buffer.from("PACK\0\0\0\u{2}\0\0\0\u{1}", "latin1");
  const type = 1;
  const size: number[] = [];
  let rest = commit.length >> 4;
  let byte = (type << 4) | (commit.length & 15);
  while (rest > 0) {
    size.push(byte | 0x80);
    byte = rest & 0x7f;
    rest >>= 7;
  }
  size.push(byte);
  const content = Buffer.concat([header, Buffer.from(size), deflateSync(commit)]);
  return Buffer.concat([content, createHash("sha1").update(content).digest()]);
}
