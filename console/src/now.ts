/** The time, which goes on: what shows ages follows it. */
import { ref } from "vue";

const stepMs = 1000;
export const nowMs = ref(Date.now());
setInterval(() => {
  nowMs.value = Date.now();
}, stepMs);
