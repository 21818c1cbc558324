/** Addresses of pages that are about one thing. Pure. */

/** Where a repository's page is. Slashes stay as they are. */
export function repositoryPath(name: string): string {
  return `/repositories/${name}`;
}

export function nodePath(id: string): string {
  return `/nodes/${encodeURIComponent(id)}`;
}
