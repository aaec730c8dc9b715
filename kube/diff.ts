/** JSON values; a member that is undefined counts as absent. */
type Members = Readonly<Record<string, unknown>>;

/** True when both are the same JSON: the order of members does not matter, that of items does. */
export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, at) => equalJson(item, b[at]));
  }
  if (!isMembers(a) || !isMembers(b)) return false;
  const keys = new Set([...present(a), ...present(b)]);
  return [...keys].every((key) => equalJson(a[key], b[key]));
}

/**
 * The JSON merge patch (RFC 7386) that makes `from` into `to`: only what differs, null for what goes, arrays as a whole. Undefined when
 * nothing differs, so that nothing is written.
 */
export function mergePatch(from: object, to: object): Members | undefined {
  const before = from as Members;
  const after = to as Members;
  const removed = present(before).filter((key) => after[key] === undefined);
  const changed = present(after).flatMap((key): readonly (readonly [string, unknown])[] => {
    const [old, next] = [before[key], after[key]];
    if (isMembers(old) && isMembers(next)) {
      const inner = mergePatch(old, next);
      return inner === undefined ? [] : [[key, inner]];
    }
    return equalJson(old, next) ? [] : [[key, next]];
  });
  if (removed.length + changed.length === 0) return undefined;
  return Object.fromEntries([...removed.map((key) => [key, null] as const), ...changed]);
}

function present(members: Members): readonly string[] {
  return Object.keys(members).filter((key) => members[key] !== undefined);
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
