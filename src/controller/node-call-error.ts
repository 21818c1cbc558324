/** Why a call to a repository server failed. */
export class NodeCallError extends Error {
  /** True when the node did not answer in time or at all; false when it refused. */
  readonly unreachable: boolean;
  /** The catalogue code of its problem document; "" when it gave none. */
  readonly code: string;

  constructor(message: string, options: { unreachable: boolean; code?: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.name = "NodeCallError";
    this.unreachable = options.unreachable;
    this.code = options.code ?? "";
  }
}
