/** What a push came to, a line a ref (gitprotocol-pack, "Report Status"). */
import { flushPkt, pktLine } from "./pkt-line.ts";
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
  const lines = [pktLine(`unpack ${oneLine(report.unpack)}\n`)];
  for (const { name, refusal } of report.results) {
    const word = refusal === undefined ? "ok " : "ng ";
    const reason = refusal === undefined ? "" : ` ${oneLine(refusal)}`;
    lines.push(pktLine(Buffer.concat([Buffer.from(word), refNameToBytes(name), Buffer.from(`${reason}\n`)])));
  }
  lines.push(flushPkt);
  return Buffer.concat(lines);
}

/** A reason may quote a client's bytes: it must not begin a line of its own. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is removed
  return text.replaceAll(/[\u0000-\u001f\u007f]+/g, " ").trim().slice(0, reasonCharactersMax) || "error";
}
