import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { request } from "undici";
import { FakeController } from "./testing/fake-controller.ts";
import { until } from "./testing/node-api-client.ts";
import { TestNodes } from "./testing/test-node.ts";

const nodes = new TestNodes();

after(() => nodes.close());

async function readiness(url: string): Promise<number> {
  const answer = await request(`${url}/readyz`);
  await answer.body.dump();
  return answer.statusCode;
}

test("registers with what it has, then tells the sizes of what changed, and no other", async () => {
  const { controller } = nodes;
  const node = await nodes.start("n");
  await until("it is ready", async () => (await readiness(node.url)) === 200);
  assert.deepEqual(controller.registrations[0]?.inventory, []);
  assert.equal(controller.registrations[0]?.url, node.url);
  const id = await node.create();
  const source = nodes.source();
  const oid = source.commit("x", "x".repeat(100));
  await node.stage(id, source.pack(oid), oid);
  const sizes = (): number[] =>
    controller.heartbeats.flatMap((beat) =>
      beat.sizes.filter((size) => size.repositoryId === id).map((size) => size.sizeBytes),
    );
  await until("its size is told", () => sizes().some((size) => size > 100));
  const told = sizes().length;
  const beats = controller.heartbeats.length;
  await until("more heartbeats", () => controller.heartbeats.length > beats + 3);
  assert.equal(sizes().length, told);
});

test("a controller that does not know the node gets a registration at once; it stays ready", async () => {
  const { controller } = nodes;
  const node = await nodes.start("forgotten");
  await until("it is ready", async () => (await readiness(node.url)) === 200);
  const id = await node.create();
  const known = controller.registrations.length;
  controller.forgottenId = controller.registrations.find(({ url }) => url === node.url)?.id;
  await until("it registers again", () => controller.registrations.slice(known).some(({ url }) => url === node.url));
  const registration = controller.registrations.slice(known).find(({ url }) => url === node.url);
  assert.deepEqual(registration?.inventory, [{ repositoryId: id, generation: 0 }]);
  assert.equal(await readiness(node.url), 200);
});

test("the next controller is asked when one does not answer or refuses; not ready before one took it in", async () => {
  const second = new FakeController();
  await second.start();
  second.status = 409;
  const node = await nodes.start("failover", { controllers: `http://127.0.0.1:1,${second.url}` });
  assert.equal(await readiness(node.url), 503);
  second.status = 200;
  await until("it is ready", async () => (await readiness(node.url)) === 200);
  const beats = second.heartbeats.length;
  await until("heartbeats", () => second.heartbeats.length > beats + 2);
  assert.equal(second.registrations.length, 1);
  second.close();
});

test("an emptied disk is noticed, and nothing is made anew on it", async () => {
  const node = await nodes.start("emptied");
  rmSync(node.directory, { recursive: true });
  await until("it is noticed", () => nodes.foreignDisks === 1);
  await assert.rejects(node.create(), /answered 500/);
  assert.throws(() => rmSync(join(node.directory, "replicas")), /ENOENT/);
});
