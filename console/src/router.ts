/** Which address shows which page. The first page is loaded at once, the others when there is nothing else to do. */
import { createRouter, createWebHistory } from "vue-router";
import { prefetchRepositories } from "./data/queries.ts";
import { notify } from "./notices.ts";
import { searchOf } from "./repository-search.ts";

declare module "vue-router" {
  interface RouteMeta {
    /** For the window's title and for screen readers. */
    readonly title: string;
  }
}

const healthMs = 5000;

const pages = {
  overview: () => import("./pages/OverviewPage.vue"),
  repositories: () => import("./pages/RepositoriesPage.vue"),
  repository: () => import("./pages/RepositoryPage.vue"),
  nodes: () => import("./pages/NodesPage.vue"),
  node: () => import("./pages/NodePage.vue"),
  work: () => import("./pages/WorkPage.vue"),
  events: () => import("./pages/EventsPage.vue"),
  nothing: () => import("./pages/NothingPage.vue"),
};

/** So that each page is there when the connection is not. */
export async function loadAllPages(): Promise<void> {
  // Those that fail are tried again when they are shown.
  await Promise.allSettled(Object.values(pages).map((load) => load()));
}

export const router = createRouter({
  history: createWebHistory(),
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
  routes: [
    { path: "/", name: "overview", component: pages.overview, meta: { title: "Overview" } },
    {
      path: "/repositories",
      name: "repositories",
      component: pages.repositories,
      beforeEnter: (to) => prefetchRepositories(searchOf(to.query)),
      meta: { title: "Repositories" },
    },
    {
      // A name may have slashes.
      path: "/repositories/:name(.+)",
      name: "repository",
      component: pages.repository,
      props: true,
      meta: { title: "Repository" },
    },
    { path: "/nodes", name: "nodes", component: pages.nodes, meta: { title: "Nodes" } },
    {
      path: "/nodes/:id",
      name: "node",
      component: pages.node,
      props: true,
      meta: { title: "Node" },
    },
    { path: "/work", name: "work", component: pages.work, meta: { title: "Work" } },
    { path: "/events", name: "events", component: pages.events, meta: { title: "Events" } },
    {
      path: "/:rest(.*)*",
      name: "nothing",
      component: pages.nothing,
      meta: { title: "Not found" },
    },
  ],
});

router.afterEach((to) => {
  const subject = typeof to.params["name"] === "string" ? to.params["name"] : to.meta.title;
  document.title = `${subject} · gitmesh`;
});

router.onError((error, to) => {
  if (/dynamically imported module|Importing a module|preload CSS/.test(String(error))) void startOver(to.fullPath);
});

/**
 * A page could not be loaded. A new version was installed while this one was open: its files have other names, and the
 * page is loaded as a whole. Once, since it may be something else; and not while nobody answers: this page is better than
 * the browser's own.
 */
async function startOver(path: string): Promise<void> {
  const answers = await fetch("/healthz", { signal: AbortSignal.timeout(healthMs) }).then(
    ({ ok }) => ok,
    () => false,
  );
  if (!answers) {
    notify("This page is not loaded yet, and the console's server does not answer. Try again later.", "failed");
  } else if (isFirstTime()) {
    window.location.assign(path);
  } else {
    notify("This page cannot be loaded. Load the console again in your browser.", "failed");
  }
}

/** The first time with these files, in this tab. */
function isFirstTime(): boolean {
  const key = `gitmesh-started-over ${import.meta.url}`;
  try {
    if (sessionStorage.getItem(key) !== null) return false;
    sessionStorage.setItem(key, "yes");
    return true;
  } catch {
    // Without a memory it might go on for ever.
    return false;
  }
}
