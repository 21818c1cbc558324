import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GitmeshError } from "../base/errors.ts";
import {
  delimPkt,
  flushPkt,
  pktDataBytesMax,
  pktLine,
  PktReader,
  responseEndPkt,
  sideBand,
  type Pkt,
} from "./pkt-line.ts";
import { collect, inChunks } from "./testing/chunks.ts";

const special = { flush: flushPkt, delim: delimPkt, "response-end": responseEndPkt } as const;

const anyPkt: fc.Arbitrary<Pkt> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes): Pkt => ({ kind: "data", data: Buffer.from(bytes) })),
  },
  fc.constantFrom<Pkt>({ kind: "flush" }, { kind: "delim" }, { kind: "response-end" }),
);
const anySizes = fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 20 }).map((sizes) => [...sizes, 1]);

function encode(pkts: readonly Pkt[]): Buffer {
  return Buffer.concat(pkts.map((pkt) => (pkt.kind === "data" ? pktLine(pkt.data) : special[pkt.kind])));
}

async function readAll(reader: PktReader): Promise<Pkt[]> {
  const pkts: Pkt[] = [];
  for (let pkt = await reader.next(); pkt !== undefined; pkt = await reader.next()) pkts.push(pkt);
  return pkts;
}

function isBadRequest(error: unknown): boolean {
  return error instanceof GitmeshError && error.code === "bad-request";
}

test("what is written is read, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyPkt, { maxLength: 30 }), anySizes, async (pkts, sizes) => {
      const bytes = encode(pkts);
      const reader = new PktReader(inChunks(bytes, sizes));
      assert.deepEqual(await readAll(reader), pkts);
      assert.equal(reader.bytesRead, bytes.length);
      assert.equal(await reader.next(), undefined, "the end stays the end");
    }),
  );
});

test("what follows the pkts comes out whole, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyPkt, { maxLength: 5 }),
      fc.uint8Array({ maxLength: 200 }),
      anySizes,
      async (pkts, rest, sizes) => {
        const front = encode(pkts);
        const reader = new PktReader(inChunks(Buffer.concat([front, rest]), sizes));
        for (const pkt of pkts) assert.deepEqual(await reader.next(), pkt);
        assert.deepEqual(await collect(reader.rest()), Buffer.from(rest));
        assert.equal(reader.bytesRead, front.length, "only pkts count");
      },
    ),
  );
});

test("the rest is passed through without copying, and can be left and taken up again", async () => {
  const first = Buffer.concat([flushPkt, Buffer.from("PACK")]);
  const second = Buffer.from("second");
  const third = Buffer.from("third");
  let closed = false;
  async function* source(): AsyncGenerator<Buffer> {
    try {
      yield first;
      yield second;
      yield third;
    } finally {
      closed = true;
    }
  }
  const reader = new PktReader(source());
  assert.deepEqual(await reader.next(), { kind: "flush" });
  for await (const chunk of reader.rest()) {
    assert.equal(chunk.toString(), "PACK");
    assert.equal(chunk.buffer, first.buffer);
    break;
  }
  assert.equal(closed, false);
  const others = await Array.fromAsync(reader.rest());
  assert.equal(others.length, 2);
  assert.equal(others[0], second);
  assert.equal(others[1], third);
});

test("a source's own error is passed on as it is", async () => {
  const failure = new Error("the client went away");
  async function* source(): AsyncGenerator<Buffer> {
    yield Buffer.from("0008te");
    throw failure;
  }
  await assert.rejects(new PktReader(source()).next(), (error) => error === failure);
});

test("malformed lengths are refused", async () => {
  for (const text of ["0003", "fff1", "ffff", "00g0", "-001", "0x10", " 008", "zzzz", "\0\0\0\0"]) {
    await assert.rejects(
      new PktReader(inChunks(Buffer.from(`${text}${"x".repeat(70_000)}`))).next(),
      isBadRequest,
      text,
    );
  }
});

test("upper-case lengths and the largest pkt are taken", async () => {
  assert.deepEqual(await new PktReader(inChunks(Buffer.from("000Aabcdef"))).next(), {
    kind: "data",
    data: Buffer.from("abcdef"),
  });
  const largest = Buffer.alloc(pktDataBytesMax, 1);
  const pkt = pktLine(largest);
  assert.equal(pkt.toString("latin1", 0, 4), "fff0");
  assert.deepEqual(await new PktReader(inChunks(pkt, [1000])).next(), { kind: "data", data: largest });
  assert.throws(() => pktLine(Buffer.alloc(pktDataBytesMax + 1)), RangeError);
  assert.throws(() => pktLine("ä".repeat(pktDataBytesMax / 2 + 1)), RangeError, "bytes count, not characters");
});

test("input that ends too early is refused at every byte", async () => {
  const whole = pktLine("some data");
  for (let length = 1; length < whole.length; length += 1) {
    await assert.rejects(
      new PktReader(inChunks(whole.subarray(0, length), [2])).next(),
      isBadRequest,
      `${length} bytes`,
    );
  }
});

test("no more is taken from the source than the next pkt needs", async () => {
  let taken = 0;
  async function* source(): AsyncGenerator<Buffer> {
    for (const byte of Buffer.concat([pktLine("abc"), pktLine("defg"), flushPkt])) {
      taken += 1;
      yield Buffer.of(byte);
    }
  }
  const reader = new PktReader(source());
  for (const expected of [7, 15, 19]) {
    await reader.next();
    assert.equal(taken, expected);
  }
});

test("many pkts in one chunk, and one pkt in many chunks, cost linear time", async () => {
  // A reader that joins or moves what is left for each pkt would take minutes for the first.
  const startMs = performance.now();
  const many = Buffer.concat(Array.from({ length: 100_000 }, () => pktLine("x".repeat(60))));
  assert.equal((await readAll(new PktReader(inChunks(many)))).length, 100_000);
  assert.equal((await readAll(new PktReader(inChunks(pktLine(Buffer.alloc(pktDataBytesMax, 7)), [1, 0])))).length, 1);
  assert.ok(performance.now() - startMs < 20_000);
});

test("side-band packets carry everything on their band, within the size", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<1 | 2 | 3>(1, 2, 3),
      fc.uint8Array({ maxLength: 500 }),
      fc.integer({ min: 6, max: 200 }),
      async (band, data, packetBytesMax) => {
        const parts: Buffer[] = [];
        for (const pkt of await readAll(new PktReader(inChunks(sideBand(band, data, packetBytesMax))))) {
          assert.ok(
            pkt.kind === "data" && pkt.data[0] === band && pkt.data.length > 1 && pkt.data.length + 4 <= packetBytesMax,
          );
          parts.push(pkt.data.subarray(1));
        }
        assert.deepEqual(Buffer.concat(parts), Buffer.from(data));
      },
    ),
  );
  assert.deepEqual(sideBand(2, "hé\n"), Buffer.from("0009\u0002hé\n"));
  assert.throws(() => sideBand(1, "x", 5), RangeError);
  assert.throws(() => sideBand(1, "x", 65_521), RangeError);
});
