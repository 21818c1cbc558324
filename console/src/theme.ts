/** Light or dark: as the system has it, or as it was chosen here. index.html does the same before the first paint. */
import { computed, ref } from "vue";

export type ThemeChoice = "system" | "light" | "dark";
const key = "gitmesh-theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = ref(system.matches);
system.addEventListener("change", ({ matches }) => {
  systemIsDark.value = matches;
  apply();
});

function stored(): ThemeChoice {
  try {
    const value = localStorage.getItem(key);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

export const themeChoice = ref<ThemeChoice>(stored());
export const isDark = computed(() =>
  themeChoice.value === "system" ? systemIsDark.value : themeChoice.value === "dark",
);

export function chooseTheme(choice: ThemeChoice): void {
  themeChoice.value = choice;
  try {
    if (choice === "system") localStorage.removeItem(key);
    else localStorage.setItem(key, choice);
  } catch {
    // It lasts until the page is left, then.
  }
  apply();
}

function apply(): void {
  document.documentElement.dataset["bsTheme"] = isDark.value ? "dark" : "light";
}
