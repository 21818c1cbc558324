/** Events in words. Pure. */
import type { EventView } from "./data/api.ts";

type Level = "good" | "info" | "warning" | "bad";

interface EventWords {
  readonly text: string;
  readonly level: Level;
}

/** What happened, after the subject: "team/site" + "was created". */
const eventWords: Readonly<Record<EventView["kind"], EventWords>> = {
  "repository-created": { text: "was created", level: "good" },
  "repository-deleted": { text: "was deleted", level: "warning" },
  "repository-renamed": { text: "was renamed", level: "info" },
  "repository-changed": { text: "was changed", level: "info" },
  "repository-adopted": { text: "was adopted", level: "warning" },
  "replica-added": { text: "gets a replica", level: "info" },
  "replica-removed": { text: "lost a replica that is not needed", level: "info" },
  "replica-stale": { text: "has a replica that is behind", level: "warning" },
  "replica-preparing": { text: "has a replica that catches up", level: "info" },
  "replica-ready": { text: "has a replica that is complete again", level: "good" },
  "replica-quarantined": { text: "has a replica that disagrees", level: "bad" },
  "replica-damaged": { text: "has a replica that is damaged", level: "bad" },
  "replica-moved-aside": { text: "had a copy moved aside", level: "info" },
  "replica-sound": { text: "has a replica that was found sound", level: "good" },
  "replica-moving": { text: "has a replica that moves", level: "info" },
  "repair-failed": { text: "has work that failed", level: "bad" },
  "repair-stuck": { text: "waits for a person", level: "bad" },
  "node-joined": { text: "joined", level: "good" },
  "node-returned": { text: "started again", level: "good" },
  "node-dead": { text: "is dead: no heartbeat", level: "bad" },
  "node-alive": { text: "is alive again", level: "good" },
  "node-draining": { text: "is draining", level: "info" },
  "node-undrained": { text: "takes replicas again", level: "info" },
  "node-removed": { text: "was removed", level: "warning" },
};

/** A controller that is newer than this page may tell of what is not known here. */
export function wordsOf(kind: string): EventWords {
  if (Object.hasOwn(eventWords, kind)) return eventWords[kind as EventView["kind"]];
  return { text: kind.replace(/^(?:repository|node)-/, "").replaceAll("-", " "), level: "info" };
}

export interface EventGroup {
  readonly value: string;
  readonly text: string;
  readonly kinds: readonly EventView["kind"][];
}

const kinds = Object.keys(eventWords) as EventView["kind"][];
const startingWith = (...starts: readonly string[]): EventView["kind"][] =>
  kinds.filter((kind) => starts.some((start) => kind.startsWith(start)));

export const eventGroups: readonly EventGroup[] = [
  { value: "", text: "Everything", kinds: [] },
  { value: "repositories", text: "Repositories", kinds: startingWith("repository-") },
  { value: "replicas", text: "Replicas", kinds: startingWith("replica-") },
  { value: "nodes", text: "Nodes", kinds: startingWith("node-") },
  {
    value: "trouble",
    text: "Trouble",
    kinds: kinds.filter((kind) => eventWords[kind].level === "bad" || kind === "replica-stale"),
  },
];
