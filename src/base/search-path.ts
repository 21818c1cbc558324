/** The PATH that this process was started with: where git is found. */
export const searchPath: string = process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
