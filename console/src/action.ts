/** Something that a person asked for: under way, failed with its reason, or done. */
import { ref, type Ref } from "vue";
import { ApiError } from "./data/api.ts";

export interface Action {
  readonly busy: Ref<boolean>;
  readonly error: Ref<ApiError | undefined>;
  /** True when it was done. What was typed is still there when it was not. */
  run(work: () => Promise<void>): Promise<boolean>;
  reset(): void;
}

export function useAction(): Action {
  const busy = ref(false);
  const error = ref<ApiError>();
  return {
    busy,
    error,
    async run(work) {
      if (busy.value) return false;
      busy.value = true;
      error.value = undefined;
      try {
        await work();
        return true;
      } catch (failure) {
        error.value =
          failure instanceof ApiError
            ? failure
            : new ApiError({ title: "The page itself failed", detail: String(failure), remedy: "Load it again." }, 0);
        return false;
      } finally {
        busy.value = false;
      }
    },
    reset() {
      error.value = undefined;
    },
  };
}
