/** Fetches without a git client: the request (gitprotocol-v2, gitprotocol-pack), the pack in the answer, what is in it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pkt } from "./pkt-line.ts";
import type { Terminal } from "./terminal.ts";

export interface FetchRequest {
  readonly version: 0 | 2;
  readonly wants: readonly string[];
  readonly haves?: readonly string[];
  /** As in "deepen 1" or "filter blob:none". */
  readonly args?: readonly string[];
  /** Tags of what is sent come along. */
  readonly tags?: boolean;
  /** False: a round of the negotiation. */
  readonly done?: boolean;
}

const flush = "0000";
const delim = "0001";
const v0Capabilities = "multi_ack_detailed no-done side-band-64k ofs-delta shallow filter";

function fetchBody({ version, wants, haves = [], args = [], tags = false, done = true }: FetchRequest): Buffer {
  const lines = (texts: readonly string[]): Buffer[] => texts.map((text) => pkt(`${text}\n`));
  const capabilities = `${v0Capabilities}${tags ? " include-tag" : ""}`;
  const wanted = wants.map((oid, index) => `want ${oid}${version === 0 && index === 0 ? ` ${capabilities}` : ""}`);
  const had = haves.map((oid) => `have ${oid}`);
  const end = done ? ["done"] : [];
  return version === 0
    ? Buffer.concat([
        ...lines([...wanted, ...args]),
        Buffer.from(flush),
        ...lines([...had, ...end]),
        Buffer.from(done ? "" : flush),
      ])
    : Buffer.concat([
        pkt("command=fetch"),
        Buffer.from(delim),
        ...lines(["ofs-delta", ...(tags ? ["include-tag"] : []), ...args, ...wanted, ...had, ...end]),
        Buffer.from(flush),
      ]);
}

/** `url`: as for a clone. */
export async function postFetch(url: string, request: FetchRequest): Promise<{ status: number; answer: Buffer }> {
  const answer = await fetch(`${url}/git-upload-pack`, {
    method: "POST",
    headers: {
      "content-type": "application/x-git-upload-pack-request",
      ...(request.version === 2 ? { "git-protocol": "version=2" } : {}),
    },
    body: new Uint8Array(fetchBody(request)),
  });
  return { status: answer.status, answer: Buffer.from(await answer.arrayBuffer()) };
}

/** The answer of plain git on a repository on disk. */
export async function freshAnswer(terminal: Terminal, directory: string, request: FetchRequest): Promise<Buffer> {
  const config = "-c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true";
  const protocol = request.version === 2 ? "GIT_PROTOCOL=version=2" : "";
  await terminal.ok(`${protocol} git ${config} upload-pack --stateless-rpc '${directory}' > answer`, {
    input: fetchBody(request),
  });
  return readFileSync(join(terminal.directory, "answer"));
}

/** The pack in a whole answer; throws for one that is a refusal, was given up, or breaks off. */
export function packIn(answer: Buffer): Buffer {
  const parts: Buffer[] = [];
  let last = -1;
  for (let at = 0; at < answer.length;) {
    last = Number.parseInt(answer.toString("latin1", at, at + 4), 16);
    assert.ok(last >= 0 && at + Math.max(4, last) <= answer.length, `it breaks off in a pkt-line at ${at}`);
    const data = answer.subarray(at + 4, at + Math.max(4, last));
    if (data[0] === 1) parts.push(data.subarray(1));
    assert.ok(data[0] !== 3 && !data.toString("latin1").startsWith("ERR "), data.toString());
    at += Math.max(4, last);
  }
  assert.equal(last, 0, "it does not end with a flush");
  return Buffer.concat(parts);
}

/** Its objects as git finds them, as lines "id type size" in order. */
export async function objectsIn(terminal: Terminal, pack: Buffer): Promise<string> {
  return await terminal.ok(
    `rm -rf unpacked.git && git init -q --bare unpacked.git && cd unpacked.git && git index-pack --stdin > /dev/null
     git cat-file --batch-all-objects --batch-check='%(objectname) %(objecttype) %(objectsize)'`,
    { input: pack },
  );
}
