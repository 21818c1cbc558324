/**
 * The catalogue of everything that can go wrong and be told to somebody. Codes are API: docs/errors.md lists
 * the same ones, and a test keeps both equal.
 *
 * `fault` says whose move it is: the caller's ("user") or ours ("server").
 */
export interface ErrorEntry {
  readonly status: number;
  readonly title: string;
  readonly remedy: string;
  readonly fault: "user" | "server";
}

export const errorCatalogue = {
  "bad-request": {
    status: 400,
    title: "The request is malformed",
    remedy: "Correct the request; 'detail' says what is wrong.",
    fault: "user",
  },
  "bad-repository-name": {
    status: 400,
    title: "Not a repository name",
    remedy: "Use parts of letters, digits, '.', '_' and '-', separated by '/'.",
    fault: "user",
  },
  unauthenticated: {
    status: 401,
    title: "The cluster secret is missing or wrong",
    remedy: "Give every server of the cluster the same secret.",
    fault: "user",
  },
  "service-not-offered": {
    status: 403,
    title: "This git service is not offered",
    remedy: "Use git's smart HTTP: git-upload-pack or git-receive-pack.",
    fault: "user",
  },
  "cross-site": {
    status: 403,
    title: "Another site's page asked for a change",
    remedy: "Use the console's own pages; a proxy in front of it must pass Host on as the browser sent it.",
    fault: "user",
  },
  "foreign-host": {
    status: 403,
    title: "The console does not go by this name",
    remedy:
      "Add the name to the console's setting hosts, or use its address; a proxy in front of it must pass Host on.",
    fault: "user",
  },
  "not-found": {
    status: 404,
    title: "No such page",
    remedy: "See /api/openapi.json for what there is.",
    fault: "user",
  },
  "repository-not-found": {
    status: 404,
    title: "Repository not found",
    remedy: "Check the name; create it with POST /api/repos/NAME.",
    fault: "user",
  },
  "node-not-found": {
    status: 404,
    title: "Repository server not found",
    remedy: "See GET /api/nodes for those there are.",
    fault: "user",
  },
  "replica-not-found": {
    status: 404,
    title: "This repository server has no such replica",
    remedy: "Nothing to do: the cluster repairs it.",
    fault: "server",
  },
  "method-not-allowed": {
    status: 405,
    title: "That method is not for this address",
    remedy: "See /api/openapi.json.",
    fault: "user",
  },
  "request-timeout": {
    status: 408,
    title: "The request stalled",
    remedy: "Try again; see the setting requestIdleMs.",
    fault: "user",
  },
  "repository-exists": {
    status: 409,
    title: "A repository of this name exists",
    remedy: "Take another name.",
    fault: "user",
  },
  "node-conflict": {
    status: 409,
    title: "Another live repository server has this URL, or this identity",
    remedy: "Give each repository server its own URL and directory.",
    fault: "user",
  },
  "node-in-use": {
    status: 409,
    title: "The repository server is alive or still holds replicas",
    remedy: "Stop it and wait until its replicas are rebuilt elsewhere, then remove it.",
    fault: "user",
  },
  "replica-in-use": {
    status: 409,
    title: "The replica is in use",
    remedy: "Nothing to do: it is looked at again later.",
    fault: "server",
  },
  "store-behind": {
    status: 409,
    title: "The metadata store has lost pushes that replicas have",
    remedy: "An administrator must decide: gitmesh repo adopt NAME shows what it would do, and asks.",
    fault: "server",
  },
  "not-adoptable": {
    status: 409,
    title: "There is nothing that can be adopted",
    remedy: "See 'detail'; gitmesh repo adopt lists what can be.",
    fault: "user",
  },
  "adoption-changed": {
    status: 409,
    title: "What the adoption would do has changed",
    remedy: "Look at it again, then decide.",
    fault: "user",
  },
  "move-refused": {
    status: 409,
    title: "The replica cannot be moved so",
    remedy: "Choose a live repository server with room that has no replica of it.",
    fault: "user",
  },
  "generation-gap": {
    status: 409,
    title: "The replica is not at the generation that the change starts from",
    remedy: "Nothing to do: the controller sends what is missing.",
    fault: "server",
  },
  "too-large": {
    status: 413,
    title: "The request is larger than allowed",
    remedy: "Push in smaller parts or raise the limit (packBytesMax).",
    fault: "user",
  },
  "unsupported-media-type": {
    status: 415,
    title: "That content type or encoding is not understood",
    remedy: "Send what the protocol asks for.",
    fault: "user",
  },
  internal: {
    status: 500,
    title: "An error of ours",
    remedy: "See the server's log under this request id.",
    fault: "server",
  },
  "git-failed": {
    status: 500,
    title: "A git process failed on the repository server",
    remedy: "See the repository server's log.",
    fault: "server",
  },
  "outcome-unknown": {
    status: 502,
    title: "The controller broke off before it answered",
    remedy: "Look whether the change took effect before you try again.",
    fault: "server",
  },
  "controller-unreachable": {
    status: 503,
    title: "No controller answers",
    remedy: "Check that a controller runs and that the console has its URL (setting controllers).",
    fault: "server",
  },
  "store-unavailable": {
    status: 503,
    title: "The metadata store does not answer",
    remedy: "Try again shortly; check the database.",
    fault: "server",
  },
  "no-write-quorum": {
    status: 503,
    title: "Too few replicas are reachable to accept a push",
    remedy: "Try again shortly; see GET /api/nodes for what is down.",
    fault: "server",
  },
  "no-ready-replica": {
    status: 503,
    title: "No complete replica is reachable",
    remedy: "Try again shortly; see GET /api/nodes for what is down.",
    fault: "server",
  },
  "not-enough-nodes": {
    status: 503,
    title: "Too few repository servers have room",
    remedy: "Add repository servers, free disk space or ask for fewer replicas.",
    fault: "server",
  },
  busy: {
    status: 503,
    title: "The server has as much work as it may take",
    remedy: "Try again shortly.",
    fault: "server",
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorCatalogue;

/** An error of the catalogue: what is told to the caller is `code`, its entry and `detail`; never the cause. */
export class GitmeshError extends Error {
  readonly code: ErrorCode;
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, detail: string, options: { cause?: unknown; fields?: Record<string, unknown> } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "GitmeshError";
    this.code = code;
    this.fields = options.fields ?? {};
  }

  get entry(): ErrorEntry {
    return errorCatalogue[this.code];
  }
}

/** The same error if it is one of the catalogue, or an `internal` one that hides it. */
export function asGitmeshError(error: unknown): GitmeshError {
  if (error instanceof GitmeshError) return error;
  return new GitmeshError("internal", "an unexpected error; the log has it under this request id", { cause: error });
}

/** RFC 9457 problem document. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly remedy: string;
  readonly [extension: string]: unknown;
}

export function toProblem(error: GitmeshError): Problem {
  const { status, title, remedy } = error.entry;
  return {
    ...error.fields,
    type: `urn:gitmesh:error:${error.code}`,
    title,
    status,
    code: error.code,
    detail: error.message,
    remedy,
  };
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
