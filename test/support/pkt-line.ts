/** pkt-lines as a client writes them; the tests' own, so that a mistake of the product's cannot hide in both. */
const flushPkt = "0000";
const zero = "0".repeat(40);

export function pkt(line: string | Buffer): Buffer {
  const content = Buffer.from(line);
  return Buffer.concat([Buffer.from((content.length + 4).toString(16).padStart(4, "0")), content]);
}

/** The body of a push: "old new ref" commands, then a pack. `undefined` is the zero id. */
export function pushBody(
  commands: readonly { readonly old?: string; readonly new?: string; readonly ref: string | Buffer }[],
  pack: Uint8Array,
  capabilities = "report-status",
): Buffer {
  const lines = commands.map((command, index) =>
    pkt(
      Buffer.concat([
        Buffer.from(`${command.old ?? zero} ${command.new ?? zero} `),
        Buffer.from(command.ref),
        Buffer.from(index === 0 ? `\0 ${capabilities}` : ""),
      ]),
    ),
  );
  return Buffer.concat([...lines, Buffer.from(flushPkt), pack]);
}

/** The lines of an answer, without a side band. */
export function pktLines(text: string): string[] {
  const lines: string[] = [];
  for (let at = 0; at + 4 <= text.length;) {
    const length = Number.parseInt(text.slice(at, at + 4), 16);
    if (Number.isNaN(length)) throw new Error(`no pkt-line at ${at}: ${JSON.stringify(text.slice(at, at + 40))}`);
    if (length >= 4) lines.push(text.slice(at + 4, at + length).replace(/\n$/, ""));
    at += Math.max(length, 4);
  }
  return lines;
}
