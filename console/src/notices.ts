/** Short messages at the edge: what was done, or why not. */
import { ref } from "vue";

export interface Notice {
  readonly id: number;
  readonly kind: "done" | "failed";
  readonly text: string;
}

const noticesMax = 4;
let last = 0;
export const notices = ref<Notice[]>([]);

export function notify(text: string, kind: Notice["kind"] = "done"): void {
  last += 1;
  notices.value = [...notices.value, { id: last, kind, text }].slice(-noticesMax);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
