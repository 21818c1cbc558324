/** A repository server as a controller sees it at one moment. */
export interface ClusterNode {
  readonly id: string;
  /** Base URL without a trailing slash. */
  readonly url: string;
  readonly version: string;
  readonly registeredMs: number;
  readonly heartbeatMs: number;
  readonly diskUsage: number;
  readonly diskFreeBytes: number;
  /** A person wants its replicas elsewhere. */
  readonly draining: boolean;
  /** There is an event of its death, and none of its return yet. */
  readonly toldDead: boolean;
  /** Of its operating system over a minute, for each processor; -1 when it is not known. */
  readonly loadAverage: number;
  /** Its heartbeats arrive. */
  readonly alive: boolean;
  /** It failed to answer this controller a moment ago; asked again only when nobody else can answer. */
  readonly suspect: boolean;
  /** Time without a heartbeat, ms; not counted while this controller itself could not look. */
  readonly silentMs: number;
  /** Requests of this controller that it is working on. */
  readonly inFlight: number;
}

/** Silent for longer than anybody waits, or forgotten: what is on it is counted on no more. */
export function isLost(node: ClusterNode | undefined, repairGraceMs: number): boolean {
  return node === undefined || (!node.alive && node.silentMs >= repairGraceMs);
}
