/** The front of a push: its commands (gitprotocol-pack, "Reference Update Request and Packfile Transfer"). */
import { GitmeshError } from "../base/errors.ts";
import type { PktReader } from "./pkt-line.ts";
import { isObjectId, isZeroOid, refNameFromBytes, type ObjectId, type RefName } from "./ref-name.ts";

export interface ReceivePackCommand {
  readonly name: RefName;
  /** undefined: the client expects that the ref does not exist. */
  readonly oldOid: ObjectId | undefined;
  /** undefined: delete. */
  readonly newOid: ObjectId | undefined;
}

export interface ReceivePackRequest {
  /** Names may be ones that git forbids: the caller refuses those one by one. */
  readonly commands: readonly ReceivePackCommand[];
  readonly capabilities: ReadonlyMap<string, string | true>;
  readonly reportStatus: "v1" | "v2" | undefined;
  readonly sideBand: boolean;
  readonly atomic: boolean;
  readonly quiet: boolean;
  readonly pushOptions: readonly string[];
  readonly shallows: readonly ObjectId[];
  /** Nothing but a flush: a probe, or nothing to push. */
  readonly empty: boolean;
}

const pushOptionsMax = 64;
const pushOptionBytesMax = 4096;
const shallowsMax = 100_000;
/** Of commands and shallow lines together; a push of 200,000 refs with names of ordinary length has half of it. */
const listBytesMax = 64 * 1024 * 1024;

/** Reads up to where the pack begins. Throws GitmeshError "bad-request" or "too-large". */
export async function parseReceivePackRequest(
  reader: PktReader,
  limits: { readonly commandsMax: number },
  objectFormat: "sha1" | "sha256",
): Promise<ReceivePackRequest> {
  const commands: ReceivePackCommand[] = [];
  const shallows: ObjectId[] = [];
  let capabilities: ReadonlyMap<string, string | true> = new Map();
  for (;;) {
    const pkt = await reader.next();
    if (pkt === undefined) {
      if (commands.length === 0 && shallows.length === 0) break;
      throw bad("the request ends in the middle of its commands");
    }
    if (pkt.kind === "flush") break;
    if (pkt.kind !== "data") throw bad("a special pkt-line among the commands");
    if (reader.bytesRead > listBytesMax) {
      throw new GitmeshError("too-large", `more than ${listBytesMax} bytes of ref updates in one push`);
    }
    let line = pkt.data;
    if (line.at(-1) === 0x0a) line = line.subarray(0, -1);
    if (startsWith(line, "shallow ")) {
      const oid = line.toString("latin1", 8);
      if (!isObjectId(oid, objectFormat)) throw bad("a shallow line without an object id");
      if (shallows.push(oid) > shallowsMax)
        throw new GitmeshError("too-large", `more than ${shallowsMax} shallow lines`);
      continue;
    }
    if (startsWith(line, "push-cert")) throw bad("signed pushes are not offered");
    const zero = line.indexOf(0);
    if (zero >= 0) {
      if (commands.length === 0) capabilities = parseCapabilities(line.toString("utf8", zero + 1));
      line = line.subarray(0, zero);
    }
    if (commands.length === 0) checkObjectFormat(capabilities, objectFormat);
    commands.push(parseCommand(line, objectFormat));
    if (commands.length > limits.commandsMax) {
      throw new GitmeshError("too-large", `more than ${limits.commandsMax} ref updates in one push`);
    }
  }
  const pushOptions = commands.length > 0 && capabilities.has("push-options") ? await readPushOptions(reader) : [];
  return {
    commands,
    capabilities,
    reportStatus: capabilities.has("report-status-v2") ? "v2" : capabilities.has("report-status") ? "v1" : undefined,
    sideBand: capabilities.has("side-band-64k"),
    atomic: capabilities.has("atomic"),
    quiet: capabilities.has("quiet"),
    pushOptions,
    shallows,
    empty: commands.length === 0,
  };
}

/** Before the first command is read: ids of another format would only look malformed. */
function checkObjectFormat(capabilities: ReadonlyMap<string, string | true>, objectFormat: "sha1" | "sha256"): void {
  const format = String(capabilities.get("object-format") ?? "sha1").slice(0, 32);
  if (format !== objectFormat) throw bad(`the push is in object format ${format}, the repository in ${objectFormat}`);
}

function parseCommand(line: Buffer, objectFormat: "sha1" | "sha256"): ReceivePackCommand {
  const length = objectFormat === "sha1" ? 40 : 64;
  const oldOid = line.toString("latin1", 0, length);
  const newOid = line.toString("latin1", length + 1, 2 * length + 1);
  const name = line.subarray(2 * length + 2);
  const wellFormed =
    line[length] === 0x20 &&
    line[2 * length + 1] === 0x20 &&
    isObjectId(oldOid, objectFormat) &&
    isObjectId(newOid, objectFormat) &&
    name.length > 0;
  if (!wellFormed) throw bad("a command that is not 'old new ref'");
  return {
    name: refNameFromBytes(name),
    oldOid: isZeroOid(oldOid) ? undefined : oldOid,
    newOid: isZeroOid(newOid) ? undefined : newOid,
  };
}

function parseCapabilities(text: string): ReadonlyMap<string, string | true> {
  const capabilities = new Map<string, string | true>();
  for (const word of text.split(" ")) {
    if (word === "") continue;
    const equals = word.indexOf("=");
    if (equals < 0) capabilities.set(word, true);
    else capabilities.set(word.slice(0, equals), word.slice(equals + 1));
  }
  return capabilities;
}

async function readPushOptions(reader: PktReader): Promise<string[]> {
  const options: string[] = [];
  for (;;) {
    const pkt = await reader.next();
    if (pkt?.kind === "flush") return options;
    if (pkt?.kind !== "data") throw bad("the push options do not end");
    if (options.length === pushOptionsMax || pkt.data.length > pushOptionBytesMax) {
      throw new GitmeshError(
        "too-large",
        `more than ${pushOptionsMax} push options or ${pushOptionBytesMax} bytes in one`,
      );
    }
    options.push(pkt.data.toString("utf8").replace(/\n$/, ""));
  }
}

function startsWith(line: Buffer, prefix: string): boolean {
  return line.length >= prefix.length && line.toString("latin1", 0, prefix.length) === prefix;
}

function bad(detail: string): GitmeshError {
  return new GitmeshError("bad-request", detail);
}
