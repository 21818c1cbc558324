/** How full the file system is that holds a directory. */
import { statfs } from "node:fs/promises";

export interface DiskSpace {
  /** Used part, 0 to 1, of what ordinary users may use. */
  readonly diskUsage: number;
  readonly diskFreeBytes: number;
}

export async function diskSpace(directory: string): Promise<DiskSpace> {
  const { blocks, bfree, bavail, bsize } = await statfs(directory);
  const used = blocks - bfree;
  const usable = used + bavail;
  return { diskUsage: usable === 0 ? 1 : used / usable, diskFreeBytes: bavail * bsize };
}
