import assert from "node:assert/strict";
import { test } from "node:test";
import { delimPkt, flushPkt, pktLine, sideBand } from "../protocol/pkt-line.ts";
import { FetchEnding } from "./fetch-ending.ts";

const packfile = pktLine("packfile\n");
const pack = Buffer.concat([sideBand(2, "Counting"), sideBand(1, Buffer.alloc(70_000, 7)), sideBand(1, "end0000")]);
const shallow = Buffer.concat([pktLine(`shallow ${"1".repeat(40)}`), flushPkt]);
const round = Buffer.concat([pktLine("acknowledgments\n"), pktLine("NAK\n")]);

const answers: readonly [what: string, parts: readonly Buffer[], whole: boolean][] = [
  ["v2, a pack", [packfile, pack, flushPkt], true],
  ["v2, a round of acknowledgments", [round, flushPkt], true],
  ["v2, a round that ends with a pack", [round, delimPkt, packfile, pack, flushPkt], true],
  ["v0, a pack", [pktLine("NAK\n"), pack, flushPkt], true],
  ["v0, a shallow pack", [shallow, pktLine("NAK\n"), pack, flushPkt], true],
  ["nothing", [], false],
  ["a flush alone", [flushPkt], false],
  ["v2, stopped behind a pkt-line of the pack", [packfile, pack], false],
  ["v2, stopped before the pack", [round, delimPkt], false],
  ["v2, stopped inside a pkt-line, at four zeros", [packfile, sideBand(1, "x0000y").subarray(0, -1)], false],
  ["v2, stopped inside a length", [packfile, pack, flushPkt.subarray(0, 3)], false],
  ["v0, stopped behind what is shallow", [shallow], false],
  ["v0, a round", [pktLine("ACK 1 common\n"), pktLine("NAK\n")], false],
  ["git gave up", [packfile, pack, sideBand(3, "aborting"), flushPkt], false],
  ["a refusal", [pktLine("ERR upload-pack: not our ref"), flushPkt], false],
  ["a refusal after a round", [round, pktLine("ERR no"), flushPkt], false],
  ["a pack without a side band", [pktLine("NAK\n"), Buffer.from("PACK....0000")], false],
  ["something behind the end", [packfile, pack, flushPkt, Buffer.from("0")], false],
];
for (const [what, parts, whole] of answers) {
  test(`${what}: ${whole ? "whole" : "not known to be whole"}`, () => {
    const bytes = Buffer.concat(parts);
    for (const size of [1, 3, 4, 5, 1000, bytes.length + 1]) {
      const ending = new FetchEnding();
      for (let at = 0; at < bytes.length; at += size) ending.add(bytes.subarray(at, at + size));
      assert.equal(ending.isWhole, whole, `in pieces of ${size} bytes`);
    }
  });
}
