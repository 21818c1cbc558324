import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { pktDataBytesMax, PktReader } from "./pkt-line.ts";
import { reportStatus } from "./report-status.ts";
import { inChunks } from "./testing/chunks.ts";

test("a report is git's", () => {
  const results = [
    { name: "refs/heads/a", refusal: undefined },
    { name: "refs/heads/\xff", refusal: "non-fast-forward" },
  ];
  const expected = "000eunpack ok\n0014ok refs/heads/a\n0025ng refs/heads/\xff non-fast-forward\n0000";
  for (const version of ["v1", "v2"] as const) {
    assert.equal(reportStatus({ version, unpack: "ok", results }).toString("latin1"), expected);
  }
});

test("reasons stay on their line, whatever they quote", () => {
  const text = (reason: string): string => reportStatus({ version: "v1", unpack: reason, results: [] }).toString();
  assert.equal(text("index-pack\nfailed\r\n\u001b[2Jhere\u009b1m\n"), "0028unpack index-pack failed [2Jhere 1m\n0000");
  for (const nothing of ["", "\n", " \0 "]) assert.equal(text(nothing), "0011unpack error\n0000");
  assert.ok(text("x".repeat(100_000)).length < 1100);
});

test("any name and reason make well-formed pkts, a line each", async () => {
  const name = fc.oneof(
    fc.string({ unit: "binary-ascii", minLength: 1 }),
    // As long as a command can carry.
    fc.integer({ min: pktDataBytesMax - 3200, max: pktDataBytesMax - 82 }).map((length) => "n".repeat(length)),
  );
  const refusal = fc.option(fc.oneof(fc.string({ unit: "binary" }), fc.constant("\u{1f600}".repeat(2000))), {
    nil: undefined,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ name, refusal }), { maxLength: 4 }), async (results) => {
      const reader = new PktReader(inChunks(reportStatus({ version: "v2", unpack: "ok", results })));
      assert.deepEqual(await reader.next(), { kind: "data", data: Buffer.from("unpack ok\n") });
      for (const result of results) {
        const pkt = await reader.next();
        assert.ok(pkt?.kind === "data");
        const line = pkt.data.toString("latin1");
        const front = result.refusal === undefined ? `ok ${result.name}\n` : `ng ${result.name} `;
        assert.equal(line.slice(0, front.length), front);
        assert.ok(line.length > front.length || result.refusal === undefined, "a refusal has a reason");
        assert.equal(line.indexOf("\n", front.length - 1), line.length - 1, "one line");
      }
      assert.deepEqual(await reader.next(), { kind: "flush" });
      assert.equal(await reader.next(), undefined);
    }),
  );
});
