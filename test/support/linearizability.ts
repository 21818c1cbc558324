/**
 * Whether a history of operations on one register (a ref, with compare-and-swap) is linearizable: whether each operation
 * can be given one moment between its invocation and its return so that, in the order of these moments, each did what it
 * answered. The search is Wing and Gong's with Lowe's memory of what was tried ("Testing for linearizability", 2017), as in
 * Porcupine. Operations on different refs are checked apart: linearizability is local (Herlihy and Wing, 1990).
 */

/** What one client did and was told. Times are of one clock, in any unit; equal times count as concurrent. */
export interface RegisterOperation {
  /** Who, for the report. */
  readonly process: string | number;
  readonly kind: "read" | "write";
  /** Of a write: the value that had to be there; undefined: whatever was there. null is "no such ref". */
  readonly expected?: string | null | undefined;
  /** Of a write: the new value. Of a read: what was read. */
  readonly value: string | null;
  readonly invoked: number;
  readonly returned: number;
  /**
   * - ok: it answered so.
   * - failed: it surely had no effect, and says nothing about the value.
   * - mismatch: a write that was refused because the value was not `expected`.
   * - unknown: a write that may take effect at any time after its invocation, or never.
   */
  readonly outcome: "ok" | "failed" | "mismatch" | "unknown";
}

export type RegisterVerdict =
  | { readonly ok: true }
  | {
      readonly ok: false;
      /** The operations that no order could place, where the search came furthest. */
      readonly stuck: readonly RegisterOperation[];
      /** The value at that point. */
      readonly value: string | null;
    };

/** An operation's invocation or return in the list of what is still to be placed. */
interface Event {
  readonly operation: RegisterOperation;
  readonly index: number;
  /** Of an invocation: its return, if it has one. Undefined for a return. */
  readonly end: Event | undefined;
  readonly isInvocation: boolean;
  previous: Event | undefined;
  next: Event | undefined;
}

export function checkRegister(
  operations: readonly RegisterOperation[],
  initial: string | null = null,
): RegisterVerdict {
  return new Search(relevant(operations), initial).run();
}

/** The value after `operation`; undefined when it cannot be at this point. */
function apply(operation: RegisterOperation, value: string | null): { readonly value: string | null } | undefined {
  if (operation.kind === "read") return operation.value === value ? { value } : undefined;
  const matches = operation.expected === undefined || operation.expected === value;
  if (operation.outcome === "mismatch") return matches ? undefined : { value };
  return matches ? { value: operation.value } : undefined;
}

/**
 * Without what says nothing: failures, reads without an answer, and unknown writes whose value nobody saw (such a one can be left
 * out of any order that has it, unless a refusal rests on it).
 */
function relevant(operations: readonly RegisterOperation[]): RegisterOperation[] {
  let left = operations.filter(({ outcome, kind }) => outcome !== "failed" && (outcome === "ok" || kind === "write"));
  if (left.some(({ outcome }) => outcome === "mismatch")) return left;
  for (;;) {
    const seen = new Set<string | null>();
    for (const { kind, expected, value } of left) {
      if (kind === "read") seen.add(value);
      else if (expected !== undefined) seen.add(expected);
    }
    const kept = left.filter(({ outcome, value }) => outcome === "ok" || seen.has(value));
    if (kept.length === left.length) return left;
    left = kept;
  }
}

class Search {
  readonly #head: Event;
  readonly #initial: string | null;
  /** Operations with an answer that are not yet placed. */
  #unplaced = 0;

  constructor(operations: readonly RegisterOperation[], initial: string | null) {
    this.#initial = initial;
    this.#head = listOf(operations);
    for (let event = this.#head.next; event; event = event.next) if (event.end) this.#unplaced += 1;
  }

  run(): RegisterVerdict {
    const tried = new Set<string>();
    const placed: { event: Event; before: string | null; last: number }[] = [];
    let value = this.#initial;
    let last = -1;
    let furthest: { left: number; stuck: RegisterOperation[]; value: string | null } | undefined;
    let event = this.#head.next;
    while (this.#unplaced > 0) {
      if (event?.isInvocation) {
        const after = apply(event.operation, value);
        if (after !== undefined) {
          const lastWith = Math.max(last, event.index);
          lift(event);
          const state = `${String(after.value)} ${this.#stateOf(lastWith)}`;
          if (!tried.has(state)) {
            tried.add(state);
            placed.push({ event, before: value, last });
            if (event.end) this.#unplaced -= 1;
            value = after.value;
            last = lastWith;
            event = this.#head.next;
            continue;
          }
          unlift(event);
        }
        event = event.next;
        continue;
      }
      // An operation returned that nothing placed: go back.
      if (furthest === undefined || this.#unplaced < furthest.left) {
        furthest = { left: this.#unplaced, stuck: this.#untilReturn(), value };
      }
      const step = placed.pop();
      if (step === undefined) return { ok: false, stuck: furthest.stuck, value: furthest.value };
      unlift(step.event);
      if (step.event.end) this.#unplaced += 1;
      value = step.before;
      last = step.last;
      event = step.event.next;
    }
    return { ok: true };
  }

  /** Which operations are placed: all up to `last` but these. */
  #stateOf(last: number): string {
    let state = String(last);
    for (let event = this.#head.next; event && event.index <= last; event = event.next) {
      if (event.isInvocation) state += ` ${event.index}`;
    }
    return state;
  }

  #untilReturn(): RegisterOperation[] {
    const stuck: RegisterOperation[] = [];
    for (let event = this.#head.next; event?.isInvocation; event = event.next) stuck.push(event.operation);
    return stuck;
  }
}

/** All events in the order of time behind a head; an unknown write has no return. An index is an invocation's place. */
function listOf(operations: readonly RegisterOperation[]): Event {
  const sorted = operations.toSorted((a, b) => a.invoked - b.invoked);
  const events: { at: number; event: Event }[] = [];
  for (const [index, operation] of sorted.entries()) {
    const end: Event | undefined =
      operation.outcome === "unknown"
        ? undefined
        : { operation, index: -1, end: undefined, isInvocation: false, previous: undefined, next: undefined };
    events.push({
      at: operation.invoked,
      event: { operation, index, end, isInvocation: true, previous: undefined, next: undefined },
    });
    if (end) events.push({ at: operation.returned, event: end });
  }
  // At one time invocations first: these operations count as concurrent.
  events.sort((a, b) => a.at - b.at || Number(b.event.isInvocation) - Number(a.event.isInvocation));
  const head: Event = {
    operation: { process: "", kind: "read", value: null, invoked: 0, returned: 0, outcome: "failed" },
    index: -1,
    end: undefined,
    isInvocation: false,
    previous: undefined,
    next: undefined,
  };
  let tail = head;
  for (const { event } of events) {
    tail.next = event;
    event.previous = tail;
    tail = event;
  }
  return head;
}

function lift(event: Event): void {
  unlink(event);
  if (event.end) unlink(event.end);
}

/** The reverse of `lift`, in the reverse order of the lifts. */
function unlift(event: Event): void {
  if (event.end) link(event.end);
  link(event);
}

function unlink(event: Event): void {
  if (event.previous) event.previous.next = event.next;
  if (event.next) event.next.previous = event.previous;
}

function link(event: Event): void {
  if (event.previous) event.previous.next = event;
  if (event.next) event.next.previous = event;
}
