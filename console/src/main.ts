/** The application's start: styles, plugins, first page. */
import "bootstrap/dist/css/bootstrap.min.css";
import "bootstrap-vue-next/dist/bootstrap-vue-next.css";
import "./styles/colours.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/panels.css";
import "./styles/lists.css";
import "./styles/states.css";
import "./styles/charts.css";
import "./styles/phone.css";
import { VueQueryPlugin } from "@tanstack/vue-query";
import { createApp } from "vue";
import App from "./App.vue";
import { queryClient } from "./data/query-client.ts";
import { router } from "./router.ts";

createApp(App).use(router).use(VueQueryPlugin, { queryClient }).mount("#app");
