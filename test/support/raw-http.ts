/** HTTP by hand, over a socket: what no client library would send. */
import { connect, type Socket } from "node:net";
import { once } from "node:events";

export interface RawAnswer {
  /** 0 when the connection ended without an answer. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const limitMsDefault = 20_000;

/**
 * Sends the bytes and reads until the server closes the connection (so send "Connection: close") or a whole answer is
 * there. Rejects when neither happens within the limit.
 */
export async function rawHttp(url: string, bytes: string | Uint8Array, limitMs = limitMsDefault): Promise<RawAnswer> {
  const socket = await rawConnect(url);
  try {
    socket.write(bytes);
    return await readAnswer(socket, limitMs);
  } finally {
    socket.destroy();
  }
}

export async function rawConnect(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, "connect");
  socket.on("error", () => {});
  return socket;
}

/** A request with a length, as text. */
export function rawPost(
  path: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Buffer {
  const content = Buffer.from(body);
  const lines = Object.entries({
    Host: "localhost",
    "Content-Length": String(content.length),
    Connection: "close",
    ...headers,
  });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${head}\r\n`), content]);
}

export async function readAnswer(socket: Socket, limitMs = limitMsDefault): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`no answer within ${limitMs} ms`)), limitMs);
    const settle = (): void => {
      clearTimeout(limit);
      resolve();
    };
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (isComplete(Buffer.concat(chunks))) settle();
    });
    socket.once("close", settle);
    socket.once("end", settle);
  });
  await ended;
  return parse(Buffer.concat(chunks));
}

function isComplete(bytes: Buffer): boolean {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const head = bytes.toString("latin1", 0, end);
  if (/^HTTP\/1\.1 1\d\d/.test(head)) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return bytes.length >= end + 4 + Number(length);
  return /\r\ntransfer-encoding: *chunked/i.test(head) && bytes.toString("latin1").endsWith("0\r\n\r\n");
}

function parse(bytes: Buffer): RawAnswer {
  let text = bytes.toString("latin1");
  while (/^HTTP\/1\.1 1\d\d/.test(text)) text = text.slice(text.indexOf("\r\n\r\n") + 4);
  const end = text.indexOf("\r\n\r\n");
  const [statusLine = "", ...lines] = text.slice(0, end < 0 ? undefined : end).split("\r\n");
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  let body = end < 0 ? "" : text.slice(end + 4);
  if (headers["transfer-encoding"] === "chunked") body = unchunk(body);
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1] ?? 0), headers, body };
}

function unchunk(text: string): string {
  let body = "";
  for (let at = 0; at < text.length;) {
    const end = text.indexOf("\r\n", at);
    const length = Number.parseInt(text.slice(at, end), 16);
    if (end < 0 || !(length > 0)) break;
    body += text.slice(end + 2, end + 2 + length);
    at = end + 2 + length + 2;
  }
  return body;
}
