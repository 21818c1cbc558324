/** Whether events arrive. */
import { ref } from "vue";

/** "connecting": at the start, or lost for a moment. "lost": long enough to say so. */
export const connection = ref<"connecting" | "live" | "lost">("connecting");
/** Counts how often it was lost and came back. */
export const heals = ref(0);
