/** What `strace -f` wrote, as system calls in the order in which they ended. */

export interface Syscall {
  readonly thread: number;
  readonly name: string;
  /** As strace prints them; strings and paths of descriptors are `\xNN` throughout. */
  readonly args: string;
  /** Of a call that failed, negative. */
  readonly result: number;
  /** Lines of the log: what ended before this call began has a smaller `ended` than its `began`. */
  readonly began: number;
  readonly ended: number;
}

/** Whatever changes files, and what is needed to know which file it was and where in it. */
const traced = `
  openat open creat read lseek dup dup2 dup3 fcntl chdir fchdir clone clone3 fork vfork
  write writev pwrite64 pwritev pwritev2 truncate ftruncate fallocate copy_file_range sendfile splice mmap ioctl
  rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir
  fsync fdatasync sync syncfs`;

/** Options of strace that parseStrace and fileOperations count on; the command follows. */
export function straceArguments(logFile: string): string[] {
  // The traced program stays the child of who started it.
  const how = ["-D", "-f", "-q", "--seccomp-bpf", "-o", logFile];
  // Paths of descriptors; every string as hex, none cut off; of reads only how much.
  const format = ["-y", "-xx", "-s", "100000000", "-e", "raw=read", "-e", "signal=none"];
  return [...how, ...format, "-e", `trace=${traced.trim().split(/\s+/).join(",")}`];
}

const wholeLine = /^(\d+) +(\w+)\((.*)\) += (0x[0-9a-f]+|-?\d+)/;
const unfinishedLine = /^(\d+) +(\w+)\((.*?) *<unfinished \.\.\.>$/;
const resumedLine = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (0x[0-9a-f]+|-?\d+)/;

export function parseStrace(log: string): Syscall[] {
  const calls: Syscall[] = [];
  const unfinished = new Map<number, { readonly args: string; readonly began: number }>();
  for (const [line, text] of log.split("\n").entries()) {
    const begun = text.endsWith("<unfinished ...>") ? unfinishedLine.exec(text) : null;
    if (begun !== null) {
      unfinished.set(Number(begun[1]), { args: begun[3] ?? "", began: line });
      continue;
    }
    const resumed = resumedLine.exec(text);
    const [, thread, name, args, result] = resumed ?? wholeLine.exec(text) ?? [];
    if (thread === undefined || name === undefined || args === undefined || result === undefined) continue;
    const start = resumed === null ? undefined : unfinished.get(Number(thread));
    calls.push({
      thread: Number(thread),
      name,
      args: start === undefined ? args : `${start.args}${start.args.endsWith(",") ? " " : ""}${args}`,
      result: Number(result),
      began: start?.began ?? line,
      ended: line,
    });
  }
  return calls;
}

/** The bytes of a string or path that strace printed as hex. */
export function unhex(text: string): Buffer {
  return Buffer.from(text.replaceAll("\\x", ""), "hex");
}
