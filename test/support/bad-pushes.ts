/** Bodies of pushes that no server may take, made from one that it would. */
import { createHash } from "node:crypto";
import { pkt, pushBody } from "./pkt-line.ts";

export interface BadBody {
  readonly what: string;
  readonly body: Buffer;
}

/** What is no list of commands: refused with 400 (or 413) before anything is staged. */
export function malformedLists(oid: string): BadBody[] {
  const zero = "0".repeat(40);
  const command = `${zero} ${oid} refs/heads/x`;
  const flush = Buffer.from("0000");
  const lines: [string, Buffer][] = [
    ["letters for a length", Buffer.from("zzzz")],
    ["a length of 3", Buffer.from("0003x0000")],
    ["a length beyond the end", Buffer.from("ffff0000")],
    ["a length that is too large", Buffer.concat([Buffer.from("fff5"), Buffer.alloc(65_525, 0x61)])],
    ["half a length", Buffer.from("00")],
    ["a negative length", Buffer.from("-001")],
    ["no flush", pkt(`${command}\0 report-status`)],
    ["a delimiter among the commands", Buffer.concat([pkt(`${command}\0 report-status`), Buffer.from("0001"), flush])],
    ["an unknown line", Buffer.concat([pkt("hello world"), flush])],
    ["an empty line", Buffer.concat([pkt(""), flush])],
    ["a command without a ref", Buffer.concat([pkt(`${zero} ${oid}`), flush])],
    ["a command with an empty ref", Buffer.concat([pkt(`${zero} ${oid} `), flush])],
    ["object ids that are too short", Buffer.concat([pkt(`${zero.slice(1)} ${oid.slice(1)} refs/heads/x`), flush])],
    ["object ids in capitals", Buffer.concat([pkt(`${zero} ${"A".repeat(40)} refs/heads/x`), flush])],
    ["object ids that are no hex", Buffer.concat([pkt(`${zero} ${"g".repeat(40)} refs/heads/x`), flush])],
    ["two spaces", Buffer.concat([pkt(`${zero}  ${oid} refs/heads/x`), flush])],
    [
      "object ids of sha256",
      Buffer.concat([pkt(`${"0".repeat(64)} ${"1".repeat(64)} refs/heads/x\0 object-format=sha256`), flush]),
    ],
    ["a shallow line without an id", Buffer.concat([pkt("shallow deep"), pkt(command), flush])],
    ["a signed push", Buffer.concat([pkt("push-cert\0report-status\n"), pkt("push-cert-end\n"), flush])],
    ["push options that do not end", Buffer.concat([pkt(`${command}\0 push-options`), flush, pkt("x")])],
    ["random bytes", createHash("sha512").update("bytes").digest()],
    ["HTML", Buffer.from("<html><body>Hello</body></html>")],
  ];
  return lines.map(([what, body]) => ({ what, body }));
}

/** Well-formed commands with a pack that is none: answered with a report that refuses them. */
export function badPacks(oid: string, pack: Buffer): BadBody[] {
  const changed = (at: number): Buffer => {
    const copy = Buffer.from(pack);
    copy[at] = (copy[at] ?? 0) ^ 0xff;
    return copy;
  };
  const packs: [string, Uint8Array][] = [
    ["no pack", Buffer.alloc(0)],
    ["half a header", pack.subarray(0, 6)],
    ["a header alone", pack.subarray(0, 12)],
    ["a pack that ends in the middle", pack.subarray(0, pack.length >> 1)],
    ["a pack without its checksum", pack.subarray(0, -20)],
    ["a pack without its last byte", pack.subarray(0, -1)],
    ["a changed byte in the signature", changed(0)],
    ["an unknown version", changed(7)],
    ["a changed number of objects", changed(11)],
    ["a huge number of objects", changed(8)],
    ["a changed byte in an object", changed(pack.length >> 1)],
    ["a changed checksum", changed(pack.length - 1)],
    ["text", Buffer.from("this is no pack at all, whatever it says")],
    ["zeros", Buffer.alloc(100_000)],
  ];
  return packs.map(([what, bytes]) => ({ what, body: pushBody([{ new: oid, ref: "refs/heads/bad" }], bytes) }));
}
