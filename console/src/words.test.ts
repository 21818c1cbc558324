/** What people read: numbers, times, events, work, commands, addresses. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cloneUrlAt } from "./clone-url.ts";
import { eventGroups, wordsOf } from "./event-text.ts";
import { ago, bytes, compact, duration, nodeName, plural } from "./format.ts";
import { quoted } from "./shell.ts";
import { drainedTo, drainProgress, remaining, waitingText, whyItWaits } from "./work.ts";

test("numbers and times", () => {
  assert.deepEqual([0, 999, 999_600, 1_000_000, 99_949_999_999].map(bytes), [
    "0 B",
    "999 B",
    "1.0 MB",
    "1.0 MB",
    "99.9 GB",
  ]);
  assert.deepEqual([0.4, 950, 4200, 59_400, 3_600_000, 7_500_000].map(duration), [
    "0 ms",
    "950 ms",
    "4.2 s",
    "59 s",
    "1 h",
    "2 h 5 min",
  ]);
  assert.deepEqual([0, 30_000, 90_000, 86_400_000, 86_400_000 * 400].map(ago), [
    "just now",
    "30 s ago",
    "2 min ago",
    "1 day ago",
    "13 months ago",
  ]);
  assert.deepEqual([compact(9999), compact(12_345)], ["9,999", "12.3K"]);
  assert.deepEqual([plural(1, "node"), plural(1200, "repository", "repositories")], ["1 node", "1,200 repositories"]);
  assert.deepEqual([nodeName("http://a:1"), nodeName("", "0123456789"), nodeName("")], ["a:1", "01234567…", "unknown"]);
});

test("an event of a newer controller has words too", () => {
  assert.deepEqual(wordsOf("node-dead"), { text: "is dead: no heartbeat", level: "bad" });
  assert.deepEqual(wordsOf("repository-archived-away"), { text: "archived away", level: "info" });
  assert.deepEqual(wordsOf("constructor"), { text: "constructor", level: "info" });
  assert.ok(eventGroups.every(({ kinds, value }) => value === "" || kinds.length > 2));
});

test("a word of a command is that word for a shell, whatever is in it", () => {
  assert.equal(quoted("feature/a.b-c_d@1"), "feature/a.b-c_d@1");
  for (const word of ["a;touch x", "$(touch x)", "it's", "`x`", "a b", 'q"q', "a\\b", "é", "*", ""]) {
    const printed = execFileSync("/bin/sh", ["-c", `printf %s ${quoted(word)}`], { encoding: "utf8" });
    assert.equal(printed, word);
  }
});

test("a clone URL that is good on the console's machine only gets the name that the page has", () => {
  const local = "http://localhost:8081/git/a/b.git";
  assert.equal(cloneUrlAt(local, "git.example.org"), "http://git.example.org:8081/git/a/b.git");
  assert.equal(cloneUrlAt("http://127.0.0.1:8081/git/a.git", "10.0.0.7"), "http://10.0.0.7:8081/git/a.git");
  assert.equal(cloneUrlAt("http://[::1]:8081/git/a.git", "[fd00::1]"), "http://[fd00::1]:8081/git/a.git");
  assert.equal(cloneUrlAt(local, "localhost"), local);
  assert.equal(cloneUrlAt(local, "127.0.0.1"), local);
  assert.equal(cloneUrlAt("https://git.example.org/git/a.git", "10.0.0.7"), "https://git.example.org/git/a.git");
  assert.equal(cloneUrlAt("", "10.0.0.7"), "");
});

test("work: time left, why it waits, how far a node is drained", () => {
  assert.equal(remaining(0.25, 0, 60_000), "about 3 min left");
  assert.deepEqual(
    [remaining(-1, 0, 60_000), remaining(0.5, -1, 60_000), remaining(0.5, 0, 500), remaining(1, 0, 60_000)],
    ["", "", "", ""],
  );
  assert.equal(whyItWaits({ state: "ALIVE" }, 1), "");
  assert.match(whyItWaits({ state: "DEAD" }, 600_000), /is dead; .* stays away for 10 min$/);
  assert.match(whyItWaits({ state: "SUSPECT" }, 1), /does not answer/);
  assert.match(whyItWaits(undefined, 1), /not part of the cluster/);
  const first = drainedTo(undefined, 40, 0);
  const later = drainedTo(first, 10, 5000);
  assert.deepEqual([drainProgress(first), drainProgress(later), later.firstMs], [0, 0.75, 0]);
  assert.deepEqual(drainedTo(later, 50, 9000), { first: 50, left: 50, firstMs: 9000 });
  assert.equal(drainProgress(drainedTo(undefined, 0, 0)), 1);
});

test("what index.html asks for early is what the first page asks for", async () => {
  const { api } = await import("./data/api.ts");
  const page = readFileSync(join(import.meta.dirname, "../index.html"), "utf8");
  const [, path = ""] = /"(\/api\/repos\?[^"]+)"/.exec(page) ?? [];
  const search = { contains: "", state: "", sort: "name" } as const;
  globalThis.early = { path, answer: Promise.resolve(new Response("[]", { headers: { "x-total-count": "7" } })) };
  const first = await api.repositories(search, { cursor: undefined, limit: 50, count: true }, undefined);
  assert.deepEqual([first.total, globalThis.early], [7, undefined], "it was taken");
});

test("what waits says why once", () => {
  const dead = { step: "wait", reason: "its repository server is dead; missed generation 3" } as const;
  assert.equal(
    waitingText(dead, "its node is dead; it may come back"),
    "missed generation 3; its node is dead; it may come back",
  );
  assert.equal(
    waitingText({ step: "wait", reason: "its repository server is dead" }, "its node is dead"),
    "its node is dead",
  );
  assert.equal(waitingText(dead, ""), dead.reason);
  assert.equal(waitingText({ step: "wait", reason: "" }, ""), "it is not its turn yet");
  assert.equal(
    waitingText({ step: "add", reason: "too few replicas" }, "its node is dead"),
    "New replica: too few replicas",
  );
});
