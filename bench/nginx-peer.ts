/** What gitmesh is compared with: nginx, fcgiwrap and git http-backend from Debian's packages, plainly configured. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { waitFor } from "../test/support/wait.ts";
import { freePorts } from "../test/support/ports.ts";
import type { Cleanup } from "./cleanup.ts";
import type { GitClient } from "./git-client.ts";
import { cleanEnvironment, type BaselineName, type Peer } from "./peers.ts";
import { newProcessTree, type ProcessTree } from "./process-tree.ts";
import { diskBytes, type Source } from "./repositories.ts";
import { ServerProcess } from "./server-process.ts";

/** Each fcgiwrap process answers one request at a time: the largest workload has 32 at once. */
const cgiWorkers = Math.max(32, 2 * availableParallelism());
const policyFile = "/usr/sbin/policy-rc.d";

/** Starts the server and gives its two peers. */
export async function startNginx(directory: string, client: GitClient, cleanup: Cleanup): Promise<Peer[]> {
  installIfMissing();
  const port = await freePorts(1);
  for (const name of ["kept", "plain", "tmp"]) mkdirSync(join(directory, name), { recursive: true });
  const tree = newProcessTree("nginx");
  cleanup.add("the process tree of nginx", () => tree.remove());
  const env = cleanEnvironment(directory);
  const start = (name: string, command: readonly string[]): ServerProcess => {
    const server = new ServerProcess(command, { tree, cwd: directory, env, logFile: join(directory, `${name}.log`) });
    cleanup.add(`stopping ${name}`, () => server.stop());
    return server;
  };
  const cgi = start("fcgiwrap", ["fcgiwrap", "-c", String(cgiWorkers), "-s", `unix:${join(directory, "cgi.sock")}`]);
  await waitFor(() => (cgi.requireRunning(), existsSync(join(directory, "cgi.sock"))), { what: "fcgiwrap to listen" });
  writeFileSync(join(directory, "nginx.conf"), configuration(directory, port));
  const nginx = start("nginx", ["nginx", "-p", directory, "-e", "stderr", "-c", join(directory, "nginx.conf")]);
  const url = `http://127.0.0.1:${port}`;
  await waitFor(async () => (nginx.requireRunning(), (await fetch(url)).status > 0), { what: "nginx to answer" });
  return [new NginxPeer("kept", directory, url, tree, client), new NginxPeer("plain", directory, url, tree, client)];
}

class NginxPeer implements Peer {
  readonly name: BaselineName;
  readonly tree: ProcessTree;
  readonly serverCommands = /^(?:\S*\/)?(?:nginx|fcgiwrap)\b/;
  readonly #directory: string;
  readonly #url: string;
  readonly #client: GitClient;

  constructor(name: BaselineName, directory: string, url: string, tree: ProcessTree, client: GitClient) {
    this.name = name;
    this.tree = tree;
    this.#directory = join(directory, name);
    this.#url = `${url}/${name}`;
    this.#client = client;
  }

  url(repository: string): string {
    return `${this.#url}/${repository}.git`;
  }

  async create(repository: string): Promise<void> {
    await this.#client.git(["init", "-q", "--bare", this.#path(repository)]);
    await this.#client.git(["config", "http.receivepack", "true"], { cwd: this.#path(repository) });
  }

  async serve(repository: string, source: Source): Promise<void> {
    await this.#client.run("cp", ["-r", "--reflink=auto", source[this.name], this.#path(repository)]);
  }

  remove(repository: string): Promise<void> {
    rmSync(this.#path(repository), { recursive: true, force: true });
    return Promise.resolve();
  }

  async diskBytes(repository: string): Promise<number> {
    return await diskBytes(this.#client, this.#path(repository));
  }

  #path(repository: string): string {
    return join(this.#directory, `${repository}.git`);
  }
}

/** As in git-http-backend(1), with protocol v2 passed through and no limit on what is pushed. */
function configuration(directory: string, port: number): string {
  return `${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes ${Math.max(2, availableParallelism())};
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  client_max_body_size 0;
  client_body_temp_path ${directory}/tmp/body;
  proxy_temp_path ${directory}/tmp/proxy;
  fastcgi_temp_path ${directory}/tmp/fastcgi;
  uwsgi_temp_path ${directory}/tmp/uwsgi;
  scgi_temp_path ${directory}/tmp/scgi;
  # A long push or clone is no failure.
  fastcgi_read_timeout 600s;
  server {
    listen 127.0.0.1:${port};
    location / {
      fastcgi_pass unix:${directory}/cgi.sock;
      fastcgi_param SCRIPT_FILENAME ${execPath()}/git-http-backend;
      fastcgi_param GIT_PROJECT_ROOT ${directory};
      fastcgi_param GIT_HTTP_EXPORT_ALL "";
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
    }
  }
}
`;
}

function execPath(): string {
  return spawnSync("git", ["--exec-path"], { encoding: "utf8" }).stdout.trim();
}

/** As root, and not without saying so. */
function installIfMissing(): void {
  const environment = cleanEnvironment("/");
  const has = (command: string): boolean =>
    spawnSync("sh", ["-c", `command -v ${command}`], { env: environment }).status === 0;
  const missing = ["nginx", "fcgiwrap"].filter((command) => !has(command));
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) throw new Error(`install ${missing.join(" and ")}, or run the bench as root`);
  console.error(`bench: installing ${missing.join(", ")} ...`);
  // The packages' own services are not started.
  const refuse = !existsSync(policyFile);
  if (refuse) writeFileSync(policyFile, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const script = `apt-get update -qq && apt-get install -y -qq --no-install-recommends ${missing.join(" ")}`;
    const run = spawnSync("sh", ["-c", script], {
      env: { ...environment, DEBIAN_FRONTEND: "noninteractive" },
      encoding: "utf8",
    });
    if (run.status !== 0) throw new Error(`apt-get: ${run.stderr}`);
  } finally {
    if (refuse) rmSync(policyFile);
  }
}
