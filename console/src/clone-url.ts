/** Where a repository is cloned from, as seen from this page. Pure. */

/**
 * A controller that is asked by a console beside it says "localhost", which is another machine for who looks from
 * elsewhere: it is the console's own name there, since both are on one machine. (Setting advertiseUrl says it for certain.)
 */
export function cloneUrlAt(cloneUrl: string, pageHostname: string): string {
  const url = URL.parse(cloneUrl);
  if (url === null || !isLoopback(url.hostname) || isLoopback(pageHostname) || pageHostname === "") return cloneUrl;
  url.hostname = pageHostname;
  return url.href;
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.*\.localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}
