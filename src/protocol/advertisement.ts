/**
 * The answers to `info/refs` (gitprotocol-http, -pack, -v2), written from a set of refs. The capabilities are those of
 * git 2.39's upload-pack and receive-pack as the repository servers run them.
 */
import { flushPkt, pktLength, pktLine } from "./pkt-line.ts";
import { zeroOid, type ObjectId, type RefName } from "./ref-name.ts";

/** A repository's refs at one moment. */
export interface RefSet {
  readonly objectFormat: "sha1" | "sha256";
  /** What HEAD points to; may be unborn. */
  readonly defaultBranch: RefName;
  /** In bytewise order of name. */
  readonly refs: readonly AdvertisedRef[];
}

export interface AdvertisedRef {
  readonly name: RefName;
  readonly oid: ObjectId;
  /** What an annotated tag points to in the end. */
  readonly peeled: ObjectId | undefined;
}

/** The protocol version that a Git-Protocol header asks for: the highest that we know, 0 without one. */
export function parseGitProtocol(header: string | undefined): 0 | 1 | 2 {
  let version: 0 | 1 | 2 = 0;
  for (const entry of (header ?? "").split(":")) {
    if (entry === "version=2") return 2;
    if (entry === "version=1") version = 1;
  }
  return version;
}

/** Protocol v2: capabilities only, the same for every repository of a format. */
export function uploadPackAdvertisementV2(objectFormat: "sha1" | "sha256", agent: string): Buffer {
  return Buffer.concat([
    pktLine("# service=git-upload-pack\n"),
    flushPkt,
    pktLine("version 2\n"),
    pktLine(`agent=${agent}\n`),
    pktLine("ls-refs=unborn\n"),
    pktLine("fetch=shallow wait-for-done filter\n"),
    pktLine("server-option\n"),
    pktLine(`object-format=${objectFormat}\n`),
    flushPkt,
  ]);
}

/** Protocol v0 and v1, for fetching: HEAD first, annotated tags with what they point to. */
export function uploadPackAdvertisement(version: 0 | 1, set: RefSet, agent: string): Buffer {
  const head = refOf(set, set.defaultBranch);
  const capabilities = [
    "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative no-progress",
    "include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done",
    ...(head === undefined ? [] : [`symref=HEAD:${set.defaultBranch}`]),
    `filter object-format=${set.objectFormat} agent=${agent}`,
  ].join(" ");
  const lines: string[] = [];
  const add = (ref: AdvertisedRef, name: string): void => {
    lines.push(`${ref.oid} ${name}`);
    if (ref.peeled !== undefined) lines.push(`${ref.peeled} ${name}^{}`);
  };
  if (head !== undefined) add(head, "HEAD");
  for (const ref of set.refs) add(ref, ref.name);
  return advertisement("git-upload-pack", version, set, lines, capabilities);
}

/** Protocol v0 and v1, for pushing. */
export function receivePackAdvertisement(version: 0 | 1, set: RefSet, agent: string): Buffer {
  const capabilities =
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options " +
    `object-format=${set.objectFormat} agent=${agent}`;
  const lines = set.refs.map((ref) => `${ref.oid} ${ref.name}`);
  return advertisement("git-receive-pack", version, set, lines, capabilities);
}

/** An answer to `info/refs` that makes git print a sentence and stop: an error status would hide it from the person. */
export function errorAdvertisement(service: "git-upload-pack" | "git-receive-pack", sentence: string): Buffer {
  return Buffer.concat([pktLine(`# service=${service}\n`), flushPkt, pktLine(`ERR ${sentence}\n`), flushPkt]);
}

/** Lines are byte strings (latin1), so that names go out as they came in. */
function advertisement(service: string, version: 0 | 1, set: RefSet, lines: string[], capabilities: string): Buffer {
  const first = lines[0] ?? `${zeroOid(set.objectFormat)} capabilities^{}`;
  lines[0] = `${first}\0${capabilities}`;
  let text = `${pkt(`# service=${service}`)}0000`;
  if (version === 1) text += pkt("version 1");
  for (const line of lines) text += pkt(line);
  return Buffer.from(`${text}0000`, "latin1");
}

function pkt(line: string): string {
  return `${pktLength(line.length + 1)}${line}\n`;
}

/** The ref of this name, by binary search. */
export function refOf(set: RefSet, name: RefName): AdvertisedRef | undefined {
  const ref = set.refs[firstAtOrAfter(set.refs, name)];
  return ref?.name === name ? ref : undefined;
}

/** Index of the first ref whose name is not before `name`. */
export function firstAtOrAfter(refs: readonly AdvertisedRef[], name: RefName): number {
  let low = 0;
  let high = refs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((refs[middle]?.name ?? "") < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
