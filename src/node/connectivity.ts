/** Whether all that some new values reach is there, and what they are. */
import { GitmeshError } from "../base/errors.ts";
import type { StageHeader, TipResult } from "../protocol/node-api.ts";
import type { ObjectId } from "../protocol/ref-name.ts";
import type { Git, GitRun } from "./git.ts";
import type { ObjectType } from "./pack-index.ts";
import { refsAreSound } from "./ref-updates.ts";

type Tips = StageHeader["tips"];
type Place = Pick<GitRun, "directory"> & {
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
};

/** When the check of all tips together fails, so many are checked one by one; beyond that all are called missing. */
const singleChecksMax = 1000;
const parallelChecks = 4;

/**
 * Checks every tip; the results are in their order. `known` are the types of objects that are known to have all that they
 * reach. Throws GitmeshError "git-failed" when the replica's own refs are broken, which
 * is no fault of the tips.
 */
export async function checkTips(
  git: Git,
  place: Place,
  tips: Tips,
  known: ReadonlyMap<ObjectId, ObjectType> = new Map(),
): Promise<TipResult[]> {
  const unknown = tips.filter(({ oid }) => !known.has(oid));
  const connected = unknown.length === 0 ? new Set<string>() : await connectedTips(git, place, unknown);
  // What a tag points to only git knows.
  const untold = tips.filter(({ oid }) => (known.get(oid) ?? "tag") === "tag");
  const found = untold.length === 0 ? [] : await objectTypes(git, place, untold);
  const types = new Map(untold.map((tip, index) => [tip, found[index]]));
  const results: TipResult[] = [];
  // Each question of ancestry is a process of its own: so many at a time.
  for (let start = 0; start < tips.length; start += parallelChecks) {
    const part = tips.slice(start, start + parallelChecks).map(async (tip): Promise<TipResult> => {
      const type = known.get(tip.oid);
      const result = type === undefined || type === "tag" ? types.get(tip) : { type };
      if (result === undefined || (type === undefined && !connected.has(tip.oid))) return { type: "missing" };
      if (tip.ancestor === undefined) return result;
      return { ...result, fastForward: await isAncestor(git, place, tip.ancestor, tip.oid) };
    });
    results.push(...(await Promise.all(part)));
  }
  return results;
}

/** The object ids all of whose objects are there, given that those of the replica's own refs are. */
async function connectedTips(git: Git, place: Place, tips: Tips): Promise<Set<string>> {
  const oids = [...new Set(tips.map((tip) => tip.oid))];
  if (await isConnected(git, place, oids)) return new Set(oids);
  if (!(await refsAreSound(git, place.directory)))
    throw new GitmeshError("git-failed", "refs of the replica are broken");
  const connected = new Set<string>();
  if (oids.length === 1 || oids.length > singleChecksMax) return connected;
  for (const oid of oids) if (await isConnected(git, place, [oid])) connected.add(oid);
  return connected;
}

/**
 * As git's receive-pack does it: walk from the tips to what the refs reach, and fail at the first missing object.
 * Without trust in the replica's own refs the walk goes to the end of history.
 */
export async function isConnected(
  git: Git,
  place: Place,
  oids: readonly string[],
  { trustOwnRefs }: { readonly trustOwnRefs: boolean } = { trustOwnRefs: true },
): Promise<boolean> {
  if (oids.length === 0) return true;
  const args = ["rev-list", "--objects", "--stdin", "--quiet", ...(trustOwnRefs ? ["--not", "--all"] : [])];
  const walk = await git.attempt({ ...place, args }, `${oids.join("\n")}\n`);
  if (walk.code === null) throw new GitmeshError("git-failed", `rev-list: ${walk.stderr.trim() || "was killed"}`);
  return walk.code === 0;
}

/** Type and, for tags, what they point to in the end; undefined where there is no such object. */
async function objectTypes(git: Git, place: Place, tips: Tips): Promise<(TipResult | undefined)[]> {
  const input = tips.map((tip) => `${tip.oid}\n${tip.oid}^{}\n`).join("");
  const args = ["cat-file", "--batch-check=%(objectname) %(objecttype)", "--buffer"];
  const lines = (await git.capture({ ...place, args }, input)).toString("latin1").split("\n");
  return tips.map((tip, index) => {
    const type = lines[2 * index]?.split(" ")[1];
    const peeled = lines[2 * index + 1]?.split(" ")[0];
    switch (type) {
      case "commit":
      case "tree":
      case "blob":
        return { type };
      case "tag":
        return peeled === undefined || peeled === tip.oid || peeled.includes("^") ? undefined : { type, peeled };
      case undefined:
      default:
        return undefined;
    }
  });
}

async function isAncestor(git: Git, place: Place, ancestor: string, descendant: string): Promise<boolean> {
  const check = await git.attempt({ ...place, args: ["merge-base", "--is-ancestor", ancestor, descendant] });
  if (check.code === null) throw new GitmeshError("git-failed", `merge-base: ${check.stderr.trim() || "was killed"}`);
  return check.code === 0;
}
