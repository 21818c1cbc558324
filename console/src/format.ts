/** Numbers and times for people. Pure. */

const plain = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function count(value: number): string {
  return plain.format(value);
}

export function compact(value: number): string {
  return Math.abs(value) < 10_000 ? plain.format(Math.round(value * 10) / 10) : short.format(value);
}

/** "1 node", "2 nodes". */
export function plural(value: number, word: string, many = `${word}s`): string {
  return `${count(value)} ${value === 1 ? word : many}`;
}

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let amount = value;
  let unit = 0;
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${unit === 0 || amount >= 99.95 ? Math.round(amount) : amount.toFixed(1)} ${units[unit] ?? ""}`;
}

export function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}

/** As in "350 ms", "4.2 s", "3 min", "2 h 5 min". */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  const minutes = Math.round(ms / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** As in "just now", "12 s ago", "3 min ago", "yesterday". */
export function ago(ms: number): string {
  if (ms < 2000) return "just now";
  if (ms < 60_000) return `${Math.round(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min ago`;
  if (ms < 86_400_000) return `${Math.round(ms / 3_600_000)} h ago`;
  const days = Math.round(ms / 86_400_000);
  if (days < 60) return plural(days, "day") + " ago";
  return days < 700
    ? `${plural(Math.round(days / 30.4), "month")} ago`
    : `${plural(Math.round(days / 365), "year")} ago`;
}

const precise = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function moment(ms: number): string {
  return precise.format(ms);
}

/** What people call a node: its host and port. */
export function nodeName(url: string, id = ""): string {
  // One whose address another node has now has none.
  const host = URL.parse(url)?.host ?? "";
  if (host !== "") return host;
  return id === "" ? "unknown" : `${id.slice(0, 8)}…`;
}

export function shortId(oid: string): string {
  return oid.slice(0, 8);
}
