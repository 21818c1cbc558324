/** The servers that are compared: gitmesh, and nginx with git http-backend twice, by the state of its repositories. */
import type { ProcessTree } from "./process-tree.ts";
import type { Source } from "./repositories.ts";

/** "kept": after `git gc`, with bitmaps and packed refs. "plain": as pushed. */
export const peerNames = ["gitmesh", "kept", "plain"] as const;
export type PeerName = (typeof peerNames)[number];
export type BaselineName = Exclude<PeerName, "gitmesh">;

export interface Peer {
  readonly name: PeerName;
  /** Of the server, with all that it starts. */
  readonly tree: ProcessTree;
  /** Command lines of its server processes: the tree without the git that they run. */
  readonly serverCommands: RegExp;
  /** Clone URL. */
  url(repository: string): string;
  /** Makes an empty repository. */
  create(repository: string): Promise<void>;
  /** Makes a repository with all that `source` has. */
  serve(repository: string, source: Source): Promise<void>;
  remove(repository: string): Promise<void>;
  /** On disk, all copies. */
  diskBytes(repository: string): Promise<number>;
}

/** Environment of servers and clients: nothing of the machine's or the person's configuration. */
export function cleanEnvironment(home: string): Record<string, string> {
  return {
    PATH: `${process.env["PATH"] ?? "/usr/bin:/bin"}:/usr/sbin:/sbin`,
    HOME: home,
    LANG: "C",
    LC_ALL: "C",
    TZ: "UTC",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
  };
}
