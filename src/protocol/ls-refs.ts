/** Protocol v2 requests, and the answer to `ls-refs` (gitprotocol-v2). */
import { GitmeshError } from "../base/errors.ts";
import { firstAtOrAfter, refOf, type AdvertisedRef, type RefSet } from "./advertisement.ts";
import { pktLength, type PktReader } from "./pkt-line.ts";

export interface V2Request {
  readonly command: string;
  readonly capabilities: readonly string[];
  /** Byte strings (latin1), without the newline. */
  readonly args: readonly string[];
}

/** git treats this many prefixes or more as none (TOO_MANY_PREFIXES in its ls-refs.c). */
const prefixesTooMany = 65_536;
const prefixWord = "ref-prefix ";
const capabilitiesMax = 256;
const argsMax = 1_000_000;

/** Reads one request. An empty one (a flush alone, or no bytes) has the command "". */
export async function parseV2Request(reader: PktReader): Promise<V2Request> {
  let command = "";
  const capabilities: string[] = [];
  const args: string[] = [];
  let list = capabilities;
  for (;;) {
    const pkt = await reader.next();
    if (pkt === undefined) {
      if (command === "" && capabilities.length === 0) break;
      throw new GitmeshError("bad-request", "the request ends before its flush packet");
    }
    if (pkt.kind === "flush") break;
    if (pkt.kind === "delim" && list === capabilities) {
      list = args;
      continue;
    }
    if (pkt.kind !== "data") throw new GitmeshError("bad-request", "an unexpected special pkt-line");
    const line = pkt.data.toString("latin1").replace(/\n$/, "");
    if (list === capabilities && line.startsWith("command=")) {
      if (command !== "") throw new GitmeshError("bad-request", "two commands in one request");
      command = line.slice("command=".length);
    } else {
      list.push(line);
    }
    if (capabilities.length > capabilitiesMax || args.length > argsMax) {
      throw new GitmeshError("too-large", "too many lines in one request");
    }
  }
  if (command === "" && (capabilities.length > 0 || list === args)) {
    throw new GitmeshError("bad-request", "a request without a command");
  }
  return { command, capabilities, args };
}

/** The refs that the arguments ask for. Throws GitmeshError "bad-request" for an argument that git does not know. */
export function lsRefsResponse(set: RefSet, args: readonly string[]): Buffer {
  const { peel, symrefs, unborn, prefixes } = parseLsRefsArgs(args);
  const parts: string[] = [];
  const add = (ref: AdvertisedRef, name: string, target: string): void => {
    const peeled = peel && ref.peeled !== undefined ? ` peeled:${ref.peeled}` : "";
    parts.push(pkt(`${ref.oid} ${name}${target}${peeled}`));
  };
  if (prefixes.length === 0 || prefixes.some((prefix) => "HEAD".startsWith(prefix))) {
    const head = refOf(set, set.defaultBranch);
    const target = symrefs ? ` symref-target:${set.defaultBranch}` : "";
    if (head !== undefined) add(head, "HEAD", target);
    // git tells an unborn HEAD only where it may say what it points to.
    else if (unborn && symrefs) parts.push(pkt(`unborn HEAD${target}`));
  }
  for (const ref of refsWithPrefix(set.refs, prefixes)) add(ref, ref.name, "");
  parts.push("0000");
  return Buffer.from(parts.join(""), "latin1");
}

function parseLsRefsArgs(args: readonly string[]): {
  readonly peel: boolean;
  readonly symrefs: boolean;
  readonly unborn: boolean;
  /** None: every ref is wanted. */
  readonly prefixes: readonly string[];
} {
  const flags = { peel: false, symrefs: false, unborn: false };
  const prefixes: string[] = [];
  for (const arg of args) {
    if (arg === "peel" || arg === "symrefs" || arg === "unborn") flags[arg] = true;
    else if (arg.startsWith(prefixWord)) prefixes.push(arg.slice(prefixWord.length));
    else throw new GitmeshError("bad-request", "an argument that ls-refs does not know");
  }
  return { ...flags, prefixes: prefixes.length < prefixesTooMany ? prefixes : [] };
}

function* refsWithPrefix(refs: readonly AdvertisedRef[], prefixes: readonly string[]): Generator<AdvertisedRef> {
  if (prefixes.length === 0) {
    yield* refs;
    return;
  }
  let next = 0;
  for (const prefix of prefixes.toSorted(compareBytes)) {
    // Prefixes overlap: what an earlier one gave is not given again.
    for (let index = Math.max(next, firstAtOrAfter(refs, prefix)); ; index += 1) {
      const ref = refs[index];
      if (ref === undefined || !ref.name.startsWith(prefix)) break;
      yield ref;
      next = index + 1;
    }
  }
}

/** Byte strings compare by their characters. */
function compareBytes(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function pkt(line: string): string {
  return `${pktLength(line.length + 1)}${line}\n`;
}
