/**
 * A controller as src/controller/server.ts puts it together, on the simulated database, network and clock, without its
 * HTTP routes: what they do before and after the parts is done here.
 */
import type { Readable } from "node:stream";
import { GitmeshError, type ErrorCode } from "../../src/base/errors.ts";
import { writeQuorumOf, type ControllerSettings } from "../../src/base/settings.ts";
import { ReplicaApplier } from "../../src/controller/apply.ts";
import { Copies } from "../../src/controller/copies.ts";
import { KnownRepositories } from "../../src/controller/known-repositories.ts";
import { LeaseKeeper } from "../../src/controller/lease.ts";
import { Membership } from "../../src/controller/membership.ts";
import { Metrics } from "../../src/controller/metrics.ts";
import { NodeInventory } from "../../src/controller/node-inventory.ts";
import { NodeReports } from "../../src/controller/node-reports.ts";
import { Orphans } from "../../src/controller/orphans.ts";
import { ReceivePack } from "../../src/controller/receive-pack.ts";
import { RefSnapshots } from "../../src/controller/ref-snapshot.ts";
import { Repair } from "../../src/controller/repair.ts";
import { ReplicaCatchUp } from "../../src/controller/replica-catch-up.ts";
import { ReplicaVerification } from "../../src/controller/replica-verification.ts";
import { RepositoryChanges } from "../../src/controller/repository-changes.ts";
import { RepositoryCreation } from "../../src/controller/repository-creation.ts";
import { routeWrite } from "../../src/controller/router.ts";
import { Scrub } from "../../src/controller/scrub.ts";
import { UploadPack } from "../../src/controller/upload-pack.ts";
import { WorkLog } from "../../src/controller/work-log.ts";
import type { HeartbeatRequest, HeartbeatResponse, RegisterRequest } from "../../src/protocol/node-api.ts";
import { delimPkt, flushPkt, pktLine } from "../../src/protocol/pkt-line.ts";
import type { ObjectId, RefName } from "../../src/protocol/ref-name.ts";
import type { Repository, RepositoryPatch, RepositoryWithReplicas } from "../../src/store/store.ts";
import type { DatabaseLink, SimulatedDatabase } from "./database.ts";
import type { Network } from "./network.ts";
import type { SimulatedNode } from "./node.ts";
import { simulatedNodeClient } from "./node-client.ts";
import { packBytes, type Pack } from "./objects.ts";
import { ProcessClock, type Process } from "./process.ts";
import type { Random } from "./random.ts";
import { traceLog } from "./trace-log.ts";

export interface ControllerOptions {
  readonly process: Process;
  readonly database: SimulatedDatabase;
  readonly link: DatabaseLink;
  readonly network: Network;
  readonly settings: ControllerSettings;
  readonly random: Random;
  /** How fast its clock goes. */
  readonly clockRate: number;
  readonly nodeAt: (url: string) => SimulatedNode | undefined;
}

export interface PushCommand {
  readonly name: RefName;
  readonly oldOid: ObjectId | null;
  readonly newOid: ObjectId | null;
}

export interface PushRequest {
  readonly commands: readonly PushCommand[];
  readonly atomic: boolean;
  readonly pack: Pack;
  /** How long the pack is on its way, ms. */
  readonly uploadMs: number;
  /** The client goes away in the middle of its pack. */
  readonly breaksOff: boolean;
}

/** What report-status said of each ref: undefined is "ok". */
export interface PushReport {
  readonly unpack: string;
  readonly refusals: ReadonlyMap<RefName, string | undefined>;
}

const suspectAgainMs = 5000;
const inventoryMs = 20_000;

/** One start of a controller. */
export class SimulatedController {
  readonly #process: Process;
  readonly #clock: ProcessClock;
  readonly #settings: ControllerSettings;
  readonly #membership: Membership;
  readonly #repositories: KnownRepositories;
  readonly #snapshots: RefSnapshots;
  readonly #uploadPack: UploadPack;
  readonly #receivePack: ReceivePack;
  readonly #creation: RepositoryCreation;
  readonly #changes: RepositoryChanges;
  readonly #reports: NodeReports;
  readonly #background: readonly { run(signal: AbortSignal): Promise<void> }[];
  #requests = 0;

  constructor(options: ControllerOptions) {
    const { process, settings, network, nodeAt } = options;
    const clock = new ProcessClock(process, options.random, options.clockRate);
    const log = traceLog(process);
    const store = options.database.openStore(process, options.link, clock, options.random, () => snapshots.clear());
    const nodeClient = simulatedNodeClient({ process, network, idleMs: settings.nodeIdleMs, nodeAt });
    const { heartbeatIntervalMs, nodeTimeoutMs, repairIntervalMs, leaseMs } = settings;
    const membership = new Membership({ store, clock, log, heartbeatIntervalMs, nodeTimeoutMs });
    const snapshots = new RefSnapshots(store, settings.refSnapshotBytesMax);
    const metrics = new Metrics({ store, clock, log, id: process.name });
    const shared = { store, nodeClient, membership, metrics, settings, clock, log };
    const applier = new ReplicaApplier({ ...shared, applyMs: settings.applyMs });
    this.#uploadPack = new UploadPack({ ...shared, snapshots, agent: "gitmesh/simulated", cache: undefined });
    this.#receivePack = new ReceivePack({ ...shared, applier });
    this.#creation = new RepositoryCreation(shared);
    const orphans = new Orphans({ ...shared, intervalMs: 10 * repairIntervalMs });
    const inventory = new NodeInventory({ ...shared, orphans, intervalMs: repairIntervalMs, askMs: inventoryMs });
    const holder = `${process.name} ${clock.uuid()}`;
    const onAttempt = (done: boolean): void => membership.noteWrite(done);
    const lease = new LeaseKeeper({ store, clock, log, name: "repair", holder, leaseMs, onAttempt });
    const catchUp = new ReplicaCatchUp({ ...shared, applier });
    const workLog = new WorkLog(shared);
    const repair = new Repair({ ...shared, applier, catchUp, lease, workLog });
    const verification = new ReplicaVerification(shared);
    const scrub = new Scrub({ ...shared, verification, lease, workLog });
    const copies = new Copies({ ...shared, lease });
    this.#background = [membership, lease, repair, scrub, copies, inventory, orphans];
    this.#changes = new RepositoryChanges({ ...shared, inventory });
    this.#reports = new NodeReports({ ...shared, orphans, inventory, suspectAgainMs });
    this.#process = process;
    this.#clock = clock;
    this.#settings = settings;
    this.#repositories = new KnownRepositories(store, settings.staleReads);
    this.#membership = membership;
    this.#snapshots = snapshots;
  }

  /** Goes on until the process crashes. */
  async run(): Promise<void> {
    const never = new AbortController().signal;
    for (;;) {
      try {
        await this.#membership.refresh();
        break;
      } catch {
        await this.#clock.sleep(500);
      }
    }
    await Promise.all(this.#background.map((part) => part.run(never)));
  }

  // What nodes call.

  async register(body: RegisterRequest): Promise<{ readonly deletedRepositoryIds: readonly string[] }> {
    return this.#reports.register(body);
  }

  async heartbeat(body: HeartbeatRequest): Promise<HeartbeatResponse> {
    return this.#reports.heartbeat(body);
  }

  // What clients call (repository-route.ts, git-http-route.ts).

  async create(name: string, replicas: number): Promise<Repository> {
    const defaultBranch = "refs/heads/main";
    const request = { name, objectFormat: "sha1", defaultBranch, description: "", replicas } as const;
    return (await this.#creation.create(request)).repository;
  }

  async delete(repository: Repository): Promise<void> {
    await this.#changes.delete(repository);
  }

  async update(found: RepositoryWithReplicas, patch: RepositoryPatch): Promise<Repository> {
    return (await this.#changes.update(found, patch)).repository;
  }

  /** Throws "repository-not-found". */
  async find(name: string, access: "read" | "write"): Promise<RepositoryWithReplicas> {
    const { repository } = await this.#repositories.find(name, access);
    if (repository.repository.aheadGeneration >= 0) throw new GitmeshError("store-behind", "the store has lost pushes");
    return repository;
  }

  /** The refs, as `ls-refs` tells them. */
  async read(found: RepositoryWithReplicas): Promise<ReadonlyMap<RefName, ObjectId>> {
    const body = Buffer.concat([pktLine("command=ls-refs\n"), delimPkt, flushPkt]);
    const answer = await this.#uploadPack.handle({
      repository: found,
      gitProtocol: "version=2",
      body,
      signal: new AbortController().signal,
    });
    if (!Buffer.isBuffer(answer)) throw new Error("ls-refs is no stream");
    const refs = new Map<RefName, ObjectId>();
    for (const line of pktTexts(answer)) {
      const [oid = "", name = ""] = line.split(" ");
      if (name !== "HEAD") refs.set(name, oid);
    }
    return refs;
  }

  /** The objects that these reach. */
  async fetch(found: RepositoryWithReplicas, wants: readonly ObjectId[]): Promise<readonly ObjectId[]> {
    const body = Buffer.concat([
      pktLine("command=fetch\n"),
      delimPkt,
      flushPkt,
      Buffer.from(`\n${JSON.stringify(wants)}`),
    ]);
    const signal = new AbortController().signal;
    const answer = await this.#uploadPack.handle({ repository: found, gitProtocol: "version=2", body, signal });
    return JSON.parse((await wholeOf(answer as Readable)).toString()) as ObjectId[];
  }

  /** Undefined when the answer broke off. */
  async push(found: RepositoryWithReplicas, push: PushRequest): Promise<PushReport | undefined> {
    const quorum = writeQuorumOf(found.repository.replicasWanted, this.#settings.writeQuorum);
    const route = routeWrite(found.replicas, this.#membership.nodes(), quorum);
    if (route.kind === "no-quorum") throw new GitmeshError("no-write-quorum", route.sentence);
    await this.#snapshots.get(found.repository);
    this.#receivePack.checkRoom();
    this.#requests += 1;
    const requestId = `${this.#process.name}-${this.#requests}`;
    const input = { repository: found, body: this.#upload(push), requestId, actor: "simulated" };
    const { body } = await this.#receivePack.handle(input);
    try {
      return reportOf(await wholeOf(body));
    } catch {
      return undefined;
    }
  }

  async *#upload(push: PushRequest): AsyncGenerator<Uint8Array, void, undefined> {
    const zero = "0".repeat(40);
    const lines = push.commands.map(({ name, oldOid, newOid }, index) => {
      const capabilities = index === 0 ? `\0report-status${push.atomic ? " atomic" : ""}` : "";
      return pktLine(`${oldOid ?? zero} ${newOid ?? zero} ${name}${capabilities}`);
    });
    yield Buffer.concat([...lines, flushPkt]);
    await this.#clock.sleep(push.uploadMs);
    if (push.breaksOff) throw new Error("the client went away");
    if (push.commands.some(({ newOid }) => newOid !== null)) yield packBytes(push.pack);
  }
}

/** Whether an error says that nothing has changed. */
export function changedNothing(error: unknown): boolean {
  const sure: readonly ErrorCode[] = ["repository-not-found", "repository-exists", "no-write-quorum"];
  return error instanceof GitmeshError && sure.includes(error.code);
}

async function wholeOf(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Texts of the pkt-lines up to the first flush. */
function pktTexts(bytes: Buffer): string[] {
  const texts: string[] = [];
  for (let start = 0; start < bytes.length;) {
    const length = Number.parseInt(bytes.toString("latin1", start, start + 4), 16);
    if (length === 0) break;
    texts.push(bytes.toString("latin1", start + 4, start + length).replace(/\n$/, ""));
    start += length;
  }
  return texts;
}

function reportOf(bytes: Buffer): PushReport | undefined {
  const [unpack = "", ...lines] = pktTexts(bytes);
  if (!unpack.startsWith("unpack ")) return undefined;
  const refusals = new Map<RefName, string | undefined>();
  for (const line of lines) {
    const [word = "", name = "", ...reason] = line.split(" ");
    refusals.set(name, word === "ok" ? undefined : reason.join(" "));
  }
  return { unpack: unpack.slice("unpack ".length), refusals };
}
