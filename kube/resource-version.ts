/**
 * Versions of the objects of one resource are comparable decimal numbers since Kubernetes 1.35, and with etcd always were.
 * Anything else is opaque: then only equality means something.
 */
const decimal = /^[1-9][0-9]*$/;

/** Negative when `a` is older than `b`, 0 when equal, positive when newer; undefined when that cannot be known. */
export function compareVersions(a: string, b: string): number | undefined {
  if (a === b) return 0;
  if (!decimal.test(a) || !decimal.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : 1;
}

/** True for a version that can only be compared for equality. */
export function isOpaque(version: string): boolean {
  return !decimal.test(version);
}
