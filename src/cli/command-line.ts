/** The command line as data: every command with its flags, help and example. What it runs is imported when it runs. */
import { Command, CommanderError, Option } from "commander";
import { ConfigError, describeSettings } from "../base/config.ts";
import { GitmeshError, messageOf } from "../base/errors.ts";
import { consoleSettingsSchema, controllerSettingsSchema, nodeSettingsSchema } from "../base/settings.ts";
import { version } from "../base/version.ts";

const schemas = {
  controller: controllerSettingsSchema,
  node: nodeSettingsSchema,
  console: consoleSettingsSchema,
} as const;
type Role = keyof typeof schemas;
type Flags = Record<string, string | undefined>;
type Options = Record<string, string | boolean | undefined>;

const roles: Readonly<Record<Role, { readonly summary: string; readonly example: string }>> = {
  controller: {
    summary: "Start a controller: it takes the requests of git clients and administrators",
    example: "gitmesh controller --listen 10.0.0.1:8081 --database postgres://gitmesh@db/gitmesh",
  },
  node: {
    summary: "Start a repository server; below it, list, show and remove repository servers",
    example: "gitmesh node --listen 10.0.0.2:8082 --controllers http://10.0.0.1:8081 --directory /srv/git",
  },
  console: {
    summary: "Start the console, a page for administrators",
    example: "gitmesh console --listen 127.0.0.1:8080 --controllers http://10.0.0.1:8081",
  },
};

/** Runs a command line (without the program's name) and resolves with the exit status. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let status = 0;
  const run = (work: () => Promise<number | void>): Promise<void> =>
    work().then((result) => {
      status = result ?? 0;
    });
  const program = new Command("gitmesh")
    .description("A distributed git server cluster.")
    .version(version)
    .exitOverride()
    .showHelpAfterError("(see gitmesh --help)")
    .configureHelp({ sortSubcommands: false });
  upCommand(program, run);
  for (const role of ["controller", "node", "console"] as const) {
    const command = serverCommand(program, role, run);
    if (role === "node") nodeCommands(command, run);
  }
  repositoryCommands(program, run);
  repairCommands(program, run);
  configCommands(program, run);
  try {
    await program.parseAsync(args, { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    process.stderr.write(`${explain(error)}\n`);
    return 1;
  }
}

type Run = (work: () => Promise<number | void>) => Promise<void>;

function upCommand(program: Command, run: Run): void {
  program
    .command("up")
    .summary("Start a whole cluster on this machine")
    .description("Starts controllers, repository servers and the console, each as a process, and keeps them running.")
    .option("--controllers <n>", "number of controllers (more than one needs --database)", "1")
    .option("--nodes <n>", "number of repository servers", "3")
    .option(
      "--replicas <n>",
      "replicas of a new repository (default: 3, or the number of repository servers if smaller)",
    )
    .option("--data <dir>", "where everything is kept", "./data")
    .option("--database <url>", "metadata store (default: SQLite in the data directory)")
    .option("--port-base <port>", "console's port; controllers follow, then repository servers", "8080")
    .addHelpText("after", "\nExample:\n  gitmesh up --nodes 5 --data /var/lib/gitmesh")
    .action((options: Flags) => run(async () => (await import("./up.ts")).up(options)));
}

function serverCommand(program: Command, role: Role, run: Run): Command {
  const { summary, example } = roles[role];
  const command = program.command(role).summary(summary).description(`${summary}.`);
  withSettings(command, role)
    .addHelpText("after", `\nExample:\n  ${example}`)
    .action((options: Flags) => run(async () => (await import("./serve.ts")).serve(role, options)));
  return command;
}

function withSettings(command: Command, role: Role): Command {
  for (const setting of describeSettings(schemas[role])) {
    const given = setting.defaultValue === "" ? "" : ` (default: ${setting.defaultValue})`;
    command.addOption(new Option(`${setting.flag} <value>`, `${setting.description}${given} [${setting.variable}]`));
  }
  return command.option("--config <file>", "JSON file with settings [GITMESH_CONFIG]");
}

function administration(command: Command): Command {
  return command
    .option("--url <url>", "controller [GITMESH_URL] (default: http://localhost:8081)")
    .option("--json", "print what the API answers");
}

function nodeCommands(node: Command, run: Run): void {
  const commands = () => import("./node-commands.ts");
  administration(node.command("list").description("List the repository servers."))
    .addHelpText("after", "\nExample:\n  gitmesh node list")
    .action((_options, command: Command) => run(async () => (await commands()).list(optionsOf(command))));
  administration(node.command("show <id>").description("Show a repository server by its id, HOST:PORT or URL."))
    .addHelpText("after", "\nExample:\n  gitmesh node show 127.0.0.1:8082")
    .action((id: string, _options, command: Command) =>
      run(async () => (await commands()).show(id, optionsOf(command))),
    );
  administration(node.command("remove <id>").description("Forget a repository server that is gone for good."))
    .option("--force", "even if repositories then have fewer complete replicas than wanted")
    .addHelpText("after", "\nExample:\n  gitmesh node remove 127.0.0.1:8084")
    .action((id: string, _options, command: Command) =>
      run(async () => (await commands()).remove(id, optionsOf(command))),
    );
}

function repositoryCommands(program: Command, run: Run): void {
  const repo = program.command("repo").summary("Create, list, show, change and delete repositories");
  const commands = () => import("./repository-commands.ts");
  const add = (words: string, description: string, example: string): Command =>
    administration(repo.command(words).description(description)).addHelpText("after", `\nExample:\n  ${example}`);
  add("create <name>", "Create a repository.", "gitmesh repo create team/project --replicas 3")
    .option("--replicas <n>", "number of replicas")
    .option("--default-branch <name>", "branch that HEAD points to")
    .option("--object-format <format>", "sha1 or sha256")
    .option("--description <text>", "for people")
    .action((name: string, _options, command: Command) =>
      run(async () => (await commands()).create(name, optionsOf(command))),
    );
  add("list", "List repositories.", "gitmesh repo list --state degraded")
    .option("--contains <text>", "only names with this in them")
    .option("--state <state>", "healthy or degraded")
    .option("--sort <order>", "name, pushed or created, with - in front to reverse")
    .action((_options, command: Command) => run(async () => (await commands()).list(optionsOf(command))));
  add("show <name>", "Show a repository and its replicas.", "gitmesh repo show test").action(
    (name: string, _options, command: Command) => run(async () => (await commands()).show(name, optionsOf(command))),
  );
  add("delete <name>", "Delete a repository.", "gitmesh repo delete test --yes")
    .option("--yes", "do not ask")
    .action((name: string, _options, command: Command) =>
      run(async () => (await commands()).remove(name, optionsOf(command))),
    );
  add("rename <name> <new-name>", "Rename a repository.", "gitmesh repo rename test team/test").action(
    (name: string, newName: string, _options, command: Command) =>
      run(async () => (await commands()).change(name, { ...optionsOf(command), name: newName })),
  );
  add(
    "adopt [name]",
    "Take a repository's refs over from its replicas, after the metadata store has lost some. Without a name: list.",
    "gitmesh repo adopt test",
  )
    .option("--from <node>", "repository server to take them from (id, HOST:PORT or URL) where its replicas differ")
    .option("--yes", "do not ask")
    .action((name: string | undefined, _options, command: Command) =>
      run(async () => (await import("./adoption-commands.ts")).adopt(name, optionsOf(command))),
    );
  add("set <name>", "Change a repository's settings.", "gitmesh repo set test --deny-deletes true")
    .option("--replicas <n>", "number of replicas")
    .option("--default-branch <name>", "branch that HEAD points to")
    .option("--description <text>", "for people")
    .option("--deny-deletes <true|false>", "refuse pushes that delete refs")
    .option("--deny-non-fast-forwards <true|false>", "refuse pushes that would lose commits of a branch")
    .action((name: string, _options, command: Command) =>
      run(async () => (await commands()).change(name, optionsOf(command))),
    );
  const repair = () => import("./repair-commands.ts");
  add("verify <name>", "Have every replica of a repository read and checked.", "gitmesh repo verify test")
    .option("--wait <seconds>", "how long to wait for it")
    .action((name: string, _options, command: Command) =>
      run(async () => (await repair()).verify(name, optionsOf(command))),
    );
  add(
    "rebuild <name>",
    "Move a replica's copy aside and fill it anew from the others.",
    "gitmesh repo rebuild test --node 127.0.0.1:8083",
  )
    .requiredOption("--node <id>", "id, HOST:PORT or URL of the repository server")
    .action((name: string, _options, command: Command) =>
      run(async () => (await repair()).rebuild(name, optionsOf(command))),
    );
}

function repairCommands(program: Command, run: Run): void {
  const commands = () => import("./repair-commands.ts");
  const group = (word: string, summary: string): Command => program.command(word).summary(summary);
  administration(group("repair", "See what the repair does").command("status"))
    .description("Show what is repaired, what needs a person, what is verified, and copies that are no replicas.")
    .addHelpText("after", "\nExample:\n  gitmesh repair status")
    .action((_options, command: Command) => run(async () => (await commands()).status(optionsOf(command))));
  administration(group("cluster", "See how safe the repositories are").command("dataloss"))
    .description("List repositories with fewer complete copies of their newest state than wanted, worst first.")
    .addHelpText("after", "\nExample:\n  gitmesh cluster dataloss")
    .action((_options, command: Command) => run(async () => (await commands()).dataLoss(optionsOf(command))));
}

function configCommands(program: Command, run: Run): void {
  const config = program.command("config").summary("Check and show the settings of a server");
  for (const verb of ["check", "show"] as const) {
    const description =
      verb === "check" ? "Report every mistake in a server's settings" : "Show the settings in force, secrets hidden";
    const command = config.command(verb).description(`${description}.`);
    for (const role of ["controller", "node", "console"] as const) {
      withSettings(command.command(role).description(`${description}: ${role}.`), role)
        .option("--json", "as JSON")
        .addHelpText("after", `\nExample:\n  gitmesh config ${verb} ${role}`)
        .action((options: Options) => run(async () => (await import("./config-commands.ts"))[verb](role, options)));
    }
  }
}

/** Flags of a command and those of the commands above it: `gitmesh node` has flags that `list` has too. */
function optionsOf(command: Command): Options {
  return command.optsWithGlobals<Options>();
}

/** What is told to a person: a sentence for what they can put right, more for what they cannot. */
function explain(error: unknown): string {
  if (error instanceof ConfigError) return error.message;
  if (error instanceof GitmeshError) return `${error.message}\n${error.entry.remedy}`;
  return messageOf(error);
}
