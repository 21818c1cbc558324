/** Who a node is: kept on its disk, so that an emptied disk is another node and is not believed. */
import { readFile } from "node:fs/promises";
import { v7 as uuid } from "uuid";
import { z } from "zod";
import { crashPoint } from "../base/crash-point.ts";
import { writeFileDurably } from "./durable-file.ts";

const identitySchema = z.object({ id: z.uuid() });

/** The id in the file, made when there is no file. Throws when there is one that cannot be read. */
export async function readIdentity(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const identity = { id: uuid() };
    await writeFileDurably(path, `${JSON.stringify(identity)}\n`);
    crashPoint("identity.made");
    return identity.id;
  }
  const identity = identitySchema.safeParse(parseJson(text));
  // Not made anew: this may be the node's only mark of its replicas.
  if (!identity.success) throw new Error(`${path} is damaged; restore it, or move the directory away to start empty.`);
  return identity.data.id;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
