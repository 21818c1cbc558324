/** The application's start: styles, plugins, first page. */
import "bootstrap/dist/css/bootstrap.min.css";
import "bootstrap-vue-next/dist/bootstrap-vue-next.css";
import "./style.css";
import { VueQueryPlugin } from "@tanstack/vue-query";
import { createApp } from "vue";
import App from "./App.vue";
import { queryClient } from "./data/query-client.ts";
import { router } from "./router.ts";

createApp(App).use(router).use(VueQueryPlugin, { queryClient }).mount("#app");
