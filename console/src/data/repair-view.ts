/** What the background repair has to do (GET /api/repair). */
export interface RepairView {
  readonly leader: string | null;
  readonly work: readonly {
    readonly repository: string;
    readonly nodeId: string;
    readonly url: string;
    readonly status: string | null;
    readonly step: string;
    readonly reason: string;
    readonly since: number;
  }[];
  readonly stuck: readonly { readonly repository: string; readonly reason: string }[];
  readonly scrub: {
    readonly replicas: number;
    readonly verified: number;
    readonly oldest: number;
    readonly interval: number;
  };
  readonly copies: readonly {
    readonly kind: string;
    readonly url: string;
    readonly repositoryId: string;
    readonly name: string;
    readonly reason: string;
    readonly since: number;
    readonly size: number;
  }[];
  readonly unreachable: readonly string[];
}
