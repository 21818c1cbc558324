import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { once } from "node:events";
import { mkdtempSync, writeFileSync, rmSync, readdirSync, mkdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "undici";
import { v7 as uuid } from "uuid";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import { nodeSettingsSchema } from "../base/settings.ts";
import { startNode } from "./server.ts";
const dir = mkdtempSync(join(tmpdir(), "probe-"));
const secret = "a secret of the test";
const c = createServer((i, r) => { i.resume(); r.end(JSON.stringify(i.url!.endsWith("register") ? { deletedRepositoryIds: [], orphanRepositoryIds: [] } : { register: false })); });
c.listen(0, "127.0.0.1"); await once(c, "listening");
const settings = nodeSettingsSchema.parse({ secret, listen: "127.0.0.1:0", controllers: `http://127.0.0.1:${(c.address() as any).port}`, directory: join(dir, "n"), logLevel: "warn" });
const node = await startNode(settings, { log: createLogger("n", "warn"), clock: systemClock, onForeignDisk() {} });
const src = join(dir, "src"); mkdirSync(src);
const git = (...a: string[]) => execFileSync("git", ["-c", "user.name=T", "-c", "user.email=t@l", ...a], { cwd: src, maxBuffer: 1e9, stdio: ["pipe", "pipe", "ignore"] });
git("init", "-q", "-b", "master");
writeFileSync(join(src, "a"), "a"); git("add", "a"); git("commit", "-qm", "a");
const oid = git("rev-parse", "HEAD").toString().trim();
const pack = execFileSync("git", ["pack-objects", "--stdout", "--revs", "-q"], { cwd: src, input: oid });
const id = uuid();
const h = { authorization: `Bearer ${secret}` };
const base = `${node.url}/node/v1/replicas`;
await request(base, { method: "POST", headers: { ...h, "content-type": "application/json" }, body: JSON.stringify({ id, name: "t", objectFormat: "sha1", defaultBranch: "refs/heads/master", description: "" }) }).then(r => r.body.text());
async function stage(pack: Buffer, ...oids: string[]) {
  const r = await request(`${base}/${id}/_stage`, { method: "POST", headers: h, body: Buffer.concat([Buffer.from(JSON.stringify({ pushId: "p", tips: oids.map(oid => ({ name: "refs/heads/x", oid })), packBytesMax: 1e10 }) + "\n"), pack]), bodyTimeout: 8000, headersTimeout: 8000 });
  return (await r.body.text()).trim().split("\n").at(-1);
}
const apply = async (b: number, g: number, u: unknown[]) => { const r = await request(`${base}/${id}/_apply`, { method: "POST", headers: { ...h, "content-type": "application/json" }, body: JSON.stringify({ base: b, generation: g, updates: u }) }); return [r.statusCode, await r.body.text()]; };
console.log("stage", await stage(pack, oid), await apply(0, 1, [["refs/heads/master", oid]]));
const pkt = (s: string) => (s.length + 4).toString(16).padStart(4, "0") + s;
for (const v of ["0", "2"]) {
  const bad = "1".repeat(40);
  let body = v === "0" ? pkt(`want ${bad} side-band-64k ofs-delta\n`) + "0000" : pkt("command=fetch") + "0001" + pkt(`want ${bad}\n`);
  for (let i = 0; i < 20000; i++) body += pkt(`have ${i.toString(16).padStart(40, "0")}\n`);
  body += v === "0" ? pkt("done\n") : pkt("done\n") + "0000";
  for (let k = 0; k < 5; k++) try {
    const r = await request(`${base}/${id}/git/git-upload-pack`, { method: "POST", headers: { ...h, ...(v === "2" ? { "git-protocol": "version=2" } : {}) }, body });
    console.log("bad want v" + v, r.statusCode, JSON.stringify((await r.body.text()).slice(0, 150)));
  } catch (e) { console.log("bad want v" + v, "ERR", String(e)); }
}
const t = Date.now();
try { console.log("garbage", await stage(Buffer.alloc(60e6, 1), oid), Date.now() - t); } catch (e) { console.log("garbage ERR", String(e), Date.now() - t); }
const rep = join(dir, "n/replicas", id.slice(-2), `${id}.git`);
writeFileSync(join(rep, "refs/heads/x"), "nonsense\n");
console.log("broken loose", await apply(1, 2, [["refs/heads/x", oid]]));
mkdirSync(join(rep, "refs/heads/y/z"), { recursive: true });
console.log("dir leftover", await apply(2, 3, [["refs/heads/y", oid]]));
writeFileSync(join(rep, "refs/heads/w.lock"), "");
console.log("stale lock", await apply(3, 4, [["refs/heads/w", oid]]));
mkdirSync(join(rep, "refs/heads/q")); writeFileSync(join(rep, "refs/heads/q/junk"), "junk\n");
console.log("d/f junk", await apply(4, 5, [["refs/heads/q", oid]]));
writeFileSync(join(rep, "refs/heads/f"), "\n");
console.log("f/d junk", await apply(5, 6, [["refs/heads/f/g", oid]]));
const many = Array.from({ length: 5000 }, (_, i) => [`refs/tags/d${i % 50}/t${i}`, oid]);
let t2 = Date.now(); console.log("5000", (await apply(6, 7, many))[0], Date.now() - t2);
// giant declared object
const big = Buffer.concat([Buffer.from("PACK\0\0\0\x02\0\0\0\x01", "latin1"), Buffer.from([0x9f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Buffer.alloc(200)]);
console.log("giant", await stage(big, oid));
await node.close(); c.closeAllConnections(); c.close(); rmSync(dir, { recursive: true });
