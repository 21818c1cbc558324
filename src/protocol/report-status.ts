/** What a push came to, a line a ref (gitprotocol-pack, "Report Status"). */
import { flushPkt, pktDataBytesMax, pktLine } from "./pkt-line.ts";
import { refNameToBytes, type RefName } from "./ref-name.ts";

const reasonCharactersMax = 1000;

export interface ReportStatus {
  /** Both versions say the same here: option lines of v2 are for hooks that change what was asked. */
  readonly version: "v1" | "v2";
  /** "ok", or why the pack was not taken. */
  readonly unpack: string;
  readonly results: readonly { readonly name: RefName; readonly refusal: string | undefined }[];
}

/** The report as pkt-lines with a flush at the end. */
export function reportStatus(report: ReportStatus): Buffer {
  const lines = [line("unpack ", Buffer.alloc(0), oneLine(report.unpack))];
  for (const { name, refusal } of report.results) {
    if (refusal === undefined) lines.push(line("ok ", refNameToBytes(name), ""));
    else lines.push(line("ng ", refNameToBytes(name), ` ${oneLine(refusal)}`));
  }
  lines.push(flushPkt);
  return Buffer.concat(lines);
}

/** A name can be as long as a whole command was: then the reason gets what room is left. */
function line(word: string, name: Buffer, reason: string): Buffer {
  const bytes = Buffer.concat([Buffer.from(word), name, Buffer.from(reason)]);
  return pktLine(Buffer.concat([bytes.subarray(0, pktDataBytesMax - 1), Buffer.from("\n")]));
}

/** A reason may quote a client's bytes: it must neither begin a line of its own nor move a terminal's cursor. */
function oneLine(text: string): string {
  const printable = text.slice(0, reasonCharactersMax).replaceAll(/\p{Cc}+/gu, " ");
  return printable.trim() || "error";
}
