/**
 * Private database servers for tests: each in a temporary directory, on a free port of 127.0.0.1;
 * they end with the test process, however that ends.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import mysql from "mysql2/promise";
import pg from "pg";
import { childrenOf, isStopped } from "./processes.ts";
import { waitFor } from "./wait.ts";

export type ServerEngine = "mariadb" | "postgres";

export interface TestDatabase {
  readonly engine: ServerEngine;
  /** Of an empty database. */
  readonly url: string;
  /** URL of one more empty database on the same server. */
  create(name: string): Promise<string>;
  /** SIGKILL: as if the machine had failed. */
  crash(): Promise<void>;
  /** As an administrator stops it. */
  shutDown(): Promise<void>;
  /** It hangs: its connections stay open, nothing is answered. */
  pause(): Promise<void>;
  resume(): void;
  /** Starts it again on the same port and data. */
  restart(): Promise<void>;
  /** Writes a backup with the engine's own program. */
  dump(file: string): void;
  /** Replaces what is there by a backup. */
  load(file: string): void;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
}

const readyMs = 30_000;
const running = new Map<ChildProcess, string>();
process.on("exit", () => {
  for (const [child, directory] of running) {
    child.kill(path.basename(directory).startsWith("gitmesh-postgres") ? "SIGQUIT" : "SIGKILL");
    // A server may write until it has noticed.
    for (let tries = 0; tries < 40; tries++) {
      rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 25);
      if (!existsSync(directory) && tries > 1) break;
    }
  }
});

/** Those whose programs are on this machine. */
export function availableEngines(): ServerEngine[] {
  return (["mariadb", "postgres"] as const).filter((engine) =>
    engine === "mariadb" ? find("mariadbd") !== undefined : postgresDirectory() !== undefined,
  );
}

/**
 * A reason to skip the tests of an engine, or false. With GITMESH_TEST_ALL=1 there is none: the tests then fail where
 * the engine is missing.
 */
export function skipReason(engine: ServerEngine): string | false {
  if (process.env["GITMESH_TEST_ALL"] === "1" || availableEngines().includes(engine)) return false;
  return `${engine === "mariadb" ? "MariaDB (mariadbd)" : "PostgreSQL"} is not on this machine`;
}

/** Throws when the engine is not on this machine or does not start. */
export async function startDatabase(engine: ServerEngine): Promise<TestDatabase> {
  if (!availableEngines().includes(engine)) throw new Error(`${engine} is not on this machine`);
  const directory = mkdtempSync(path.join(tmpdir(), `gitmesh-${engine}-`));
  try {
    const port = await freePort();
    const server = engine === "mariadb" ? prepareMariadb(directory, port) : preparePostgres(directory, port);
    let child = await start(server, directory);
    const end = async (signal: NodeJS.Signals): Promise<void> => {
      running.delete(child);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill(signal);
      const killer = setTimeout(() => child.kill("SIGKILL"), readyMs);
      await exited;
      clearTimeout(killer);
    };
    return {
      engine,
      url: server.url,
      create: async (name) => {
        await server.query(`create database ${name}`);
        return server.url.replace(/[^/]*$/, name);
      },
      crash: () => end("SIGKILL"),
      // PostgreSQL's fast shutdown does not wait for its clients.
      dump: (file) => run(...server.dump(file)),
      load: (file) => run(...server.load(file)),
      shutDown: () => end(engine === "mariadb" ? "SIGTERM" : "SIGINT"),
      pause: async () => {
        signalWithChildren(child, "SIGSTOP");
        for (const pid of [child.pid ?? 0, ...childrenOf(child.pid ?? 0)]) {
          await waitFor(() => isStopped(pid), { what: "the database to stand still" });
        }
      },
      resume: () => signalWithChildren(child, "SIGCONT"),
      restart: async () => {
        await end("SIGKILL");
        child = await start(server, directory);
      },
      stop: async () => {
        // Its data goes too: no need for a tidy end. SIGQUIT takes PostgreSQL's own children along.
        await end(engine === "mariadb" ? "SIGKILL" : "SIGQUIT");
        rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
      },
    };
  } catch (error) {
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
    throw error;
  }
}

interface Server {
  readonly url: string;
  /** Arguments of setpriv. */
  readonly command: readonly string[];
  query(sql: string): Promise<void>;
  /** Program and arguments. */
  dump(file: string): [string, string[]];
  load(file: string): [string, string[]];
}

async function start(server: Server, directory: string): Promise<ChildProcess> {
  // The kernel ends the server when this process dies without its exit handlers.
  const child = spawn(find("setpriv") ?? "setpriv", ["--pdeathsig", "KILL", ...server.command], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.set(child, directory);
  child.unref();
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log = (log + text).slice(-4000);
  });
  const endMs = performance.now() + readyMs;
  for (;;) {
    try {
      await server.query("select 1");
      return child;
    } catch (error) {
      if (child.exitCode !== null || performance.now() > endMs) {
        running.delete(child);
        child.kill("SIGKILL");
        throw new Error(`the database did not start: ${log}`, { cause: error });
      }
      await sleep(50);
    }
  }
}

/** PostgreSQL has a process for each connection. */
function signalWithChildren(child: ChildProcess, signal: NodeJS.Signals): void {
  for (const pid of [child.pid ?? 0, ...childrenOf(child.pid ?? 0)]) process.kill(pid, signal);
}

function prepareMariadb(directory: string, port: number): Server {
  const data = path.join(directory, "data");
  const { username } = userInfo();
  run("mariadb-install-db", [
    "--no-defaults",
    `--user=${username}`,
    `--datadir=${data}`,
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
  ]);
  const url = `mariadb://root@127.0.0.1:${port}/mysql`;
  const client = ["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", `--port=${port}`, "--user=root"];
  return {
    url: url.replace(/mysql$/, "gitmesh"),
    command: [
      find("mariadbd") ?? "mariadbd",
      "--no-defaults",
      `--user=${username}`,
      `--datadir=${data}`,
      `--port=${port}`,
      "--bind-address=127.0.0.1",
      `--socket=${path.join(directory, "s.sock")}`,
      `--pid-file=${path.join(directory, "m.pid")}`,
      "--innodb-buffer-pool-size=64M",
      "--skip-log-bin",
    ],
    dump: (file) => [
      "mariadb-dump",
      [...client, "--single-transaction", "--add-drop-database", `--result-file=${file}`, "--databases", "gitmesh"],
    ],
    load: (file) => ["mariadb", [...client, `--execute=source ${file}`]],
    query: async (sql) => {
      const connection = await mysql.createConnection({ uri: url.replace(/^mariadb/, "mysql"), connectTimeout: 2000 });
      try {
        await connection.query("create database if not exists gitmesh");
        await connection.query(sql);
      } finally {
        connection.destroy();
      }
    },
  };
}

function preparePostgres(directory: string, port: number): Server {
  const programs = postgresDirectory();
  if (programs === undefined) throw new Error("PostgreSQL is not on this machine");
  // PostgreSQL refuses to run as root.
  const asOther = process.getuid?.() === 0 ? ["--reuid=postgres", "--regid=postgres", "--clear-groups"] : [];
  if (asOther.length > 0) {
    const { uid, gid } = accountOf("postgres");
    chownSync(directory, uid, gid);
  }
  const data = path.join(directory, "data");
  const other = (command: readonly string[]): string[] => [...asOther, "env", "HOME=/tmp", ...command];
  run("setpriv", other([path.join(programs, "initdb"), "-D", data, "-U", "gitmesh", "--auth=trust", "--no-sync"]));
  const url = `postgres://gitmesh@127.0.0.1:${port}/postgres`;
  const command = other([
    path.join(programs, "postgres"),
    "-D",
    data,
    "-p",
    String(port),
    "-c",
    "listen_addresses=127.0.0.1",
    "-c",
    `unix_socket_directories=${directory}`,
  ]);
  return {
    url,
    command,
    dump: (file) => [path.join(programs, "pg_dump"), ["--clean", "--if-exists", `--file=${file}`, url]],
    // All at once or not at all, so that nobody sees half of it.
    load: (file) => [
      path.join(programs, "psql"),
      ["--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", `--file=${file}`, url],
    ],
    query: async (sql) => {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 });
      client.on("error", () => {});
      try {
        await client.connect();
        await client.query(sql);
      } finally {
        await client.end().catch(() => {});
      }
    },
  };
}

function run(program: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(find(program) ?? program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr}`);
}

/** Also where administrators' programs are, which a user's PATH may lack. */
function find(program: string): string | undefined {
  const directories = [
    ...(process.env["PATH"] ?? "").split(path.delimiter),
    "/usr/sbin",
    "/usr/bin",
    "/usr/local/sbin",
  ];
  return directories.map((directory) => path.join(directory, program)).find((file) => existsSync(file));
}

function postgresDirectory(): string | undefined {
  const root = "/usr/lib/postgresql";
  if (existsSync(root)) {
    const newestFirst = readdirSync(root).toSorted((a, b) => Number(b) - Number(a));
    for (const version of newestFirst) {
      const directory = path.join(root, version, "bin");
      if (existsSync(path.join(directory, "postgres"))) return directory;
    }
  }
  const program = find("postgres");
  return program === undefined ? undefined : path.dirname(program);
}

function accountOf(user: string): { readonly uid: number; readonly gid: number } {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${user}:`));
  const [, , uid, gid] = (line ?? "").split(":");
  if (uid === undefined || gid === undefined) throw new Error(`there is no user ${user}`);
  return { uid: Number(uid), gid: Number(gid) };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
