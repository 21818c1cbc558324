/** Which address shows which page. Pages are loaded when they are first shown. */
import { createRouter, createWebHistory } from "vue-router";
import { prefetchRepositories } from "./data/queries.ts";
import { searchOf } from "./repository-search.ts";

declare module "vue-router" {
  interface RouteMeta {
    /** For the window's title and for screen readers. */
    readonly title: string;
  }
}

export const router = createRouter({
  history: createWebHistory(),
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
  routes: [
    { path: "/", name: "overview", component: () => import("./pages/OverviewPage.vue"), meta: { title: "Overview" } },
    {
      path: "/repositories",
      name: "repositories",
      component: () => import("./pages/RepositoriesPage.vue"),
      beforeEnter: (to) => prefetchRepositories(searchOf(to.query)),
      meta: { title: "Repositories" },
    },
    {
      // A name may have slashes.
      path: "/repositories/:name(.+)",
      name: "repository",
      component: () => import("./pages/RepositoryPage.vue"),
      props: true,
      meta: { title: "Repository" },
    },
    { path: "/nodes", name: "nodes", component: () => import("./pages/NodesPage.vue"), meta: { title: "Nodes" } },
    {
      path: "/nodes/:id",
      name: "node",
      component: () => import("./pages/NodePage.vue"),
      props: true,
      meta: { title: "Node" },
    },
    { path: "/work", name: "work", component: () => import("./pages/WorkPage.vue"), meta: { title: "Work" } },
    { path: "/events", name: "events", component: () => import("./pages/EventsPage.vue"), meta: { title: "Events" } },
    {
      path: "/:rest(.*)*",
      name: "nothing",
      component: () => import("./pages/NothingPage.vue"),
      meta: { title: "Not found" },
    },
  ],
});

router.afterEach((to) => {
  const subject = typeof to.params["name"] === "string" ? to.params["name"] : to.meta.title;
  document.title = `${subject} · gitmesh`;
});

// A new version was installed while the page was open: its files have other names.
router.onError((error, to) => {
  if (/dynamically imported module|Importing a module/.test(String(error))) window.location.assign(to.fullPath);
});

/** Where a repository's page is. Slashes stay as they are. */
export function repositoryPath(name: string): string {
  return `/repositories/${name}`;
}

export function nodePath(id: string): string {
  return `/nodes/${encodeURIComponent(id)}`;
}
